// Reads KEDA's objects as a JSON list, and says what is wrong with each: a JSON list of texts, empty where nothing is.
// The validators are made from the Go types that KEDA's own CRDs are made from.
import { readFileSync } from "node:fs";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";

const faults = JSON.parse(readFileSync(0, "utf8")).map((object) => {
  try {
    new ScaledObject(object).validate();
    return "";
  } catch (error) {
    return error.message;
  }
});
console.log(JSON.stringify(faults));
