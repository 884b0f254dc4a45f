/** How the next message is to be answered: by which agent and tier, in which mode, asking before changes or not. */

import { h } from "../dom.js";
import { keep, recall } from "../stored.js";

const KEPT = { agent: "decopilot-agent", tier: "decopilot-tier", asksFirst: "decopilot-ask-first" };
/** These are for what an agent does beside its answer. */
const BESIDE = new Set(["image", "web_research"]);
const NAMES = new Map([
  ["fast", "Fast"],
  ["smart", "Smart"],
  ["thinking", "Thinking"],
]);

/** The tiers worth choosing between: `[{value, text, isAllowed}]`; none where one is like the other. */
export function tierChoices({ tiers = {} } = {}) {
  const found = Object.entries(tiers).filter(([tier]) => !BESIDE.has(tier));
  if (new Set(found.map(([, { model }]) => model)).size < 2) return [];
  return found.map(([tier, { title, model, allowed }]) => {
    const name = NAMES.get(tier) ?? tier;
    return { value: tier, text: `${name}: ${title || model}`, isAllowed: allowed !== false };
  });
}

/** The agents worth choosing between; none where there is only one. The default one needs no name in a message. */
export function agentChoices({ agents = [] } = {}) {
  if (agents.length < 2) return [];
  return agents.map(({ id, title, description }) => ({
    value: id,
    text: title || id,
    hint: description,
    isAllowed: true,
  }));
}

/** Whether the web can be searched. */
export const canSearch = ({ modes = [] } = {}) => modes.includes("web-search");

export class Choices {
  #elements;

  /** `elements`: `agent` and `tier` (selects in a label), `asksFirst`, `plans` and `searches` (checkboxes). */
  constructor(elements) {
    this.#elements = elements;
    const { agent, tier, asksFirst, plans, searches } = elements;
    asksFirst.checked = recall(KEPT.asksFirst) === "yes";
    asksFirst.addEventListener("change", () => keep(KEPT.asksFirst, asksFirst.checked ? "yes" : "no"));
    plans.addEventListener("change", () => plans.checked && (searches.checked = false));
    searches.addEventListener("change", () => searches.checked && (plans.checked = false));
    agent.addEventListener("change", () => keep(KEPT.agent, agent.value || undefined));
    tier.addEventListener("change", () => keep(KEPT.tier, tier.value || undefined));
  }

  /** Ask the server what there is to choose; without an answer its own choice is as good. */
  async load(client) {
    const ask = (path) => client.request(`decopilot/${path}`).catch(() => undefined);
    const [agents, models] = await Promise.all([ask("agents"), ask("allowed-models")]);
    const { agent, tier, searches } = this.#elements;
    fill(agent, agentChoices(agents), { none: undefined, chosen: recall(KEPT.agent) });
    fill(tier, tierChoices(models), { none: "The agent’s own", chosen: recall(KEPT.tier) });
    searches.parentElement.hidden = !canSearch(agents);
  }

  /** What a message says of its run. */
  get run() {
    const { agent, tier, plans, searches } = this.#elements;
    const mode = plans.checked ? "plan" : searches.checked ? "web-search" : "default";
    return {
      mode,
      ...this.again,
      ...(agent.value ? { agent: { id: agent.value } } : {}),
      ...(tier.value ? { tier: tier.value } : {}),
    };
  }

  /** What an answer that is made anew says of it. */
  get again() {
    return { toolApprovalLevel: this.#elements.asksFirst.checked ? "readonly" : "auto" };
  }

  /** For one message alone: what the reader chose is left as it is. */
  with({ asksFirst, plans }, act) {
    const { asksFirst: asks, plans: plan } = this.#elements;
    const chosen = [asks.checked, plan.checked];
    asks.checked ||= asksFirst;
    plan.checked ||= plans;
    act();
    [asks.checked, plan.checked] = chosen;
  }
}

/** `none` is the text for no choice at all; what was chosen once may not be there any more. */
function fill(select, choices, { none, chosen }) {
  const options = choices.map(({ value, text, hint, isAllowed }) => {
    const told = isAllowed ? text : `${text} (not for your role)`;
    return h("option", { value, disabled: !isAllowed, ...(hint ? { title: hint } : {}) }, told);
  });
  if (none && choices.length > 0) options.unshift(h("option", { value: "" }, none));
  select.replaceChildren(...options);
  select.parentElement.hidden = choices.length === 0;
  const wanted = choices.find(({ value, isAllowed }) => value === chosen && isAllowed);
  if (wanted) select.value = chosen;
}
