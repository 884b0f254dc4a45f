/** What the browser keeps for this page. It may keep nothing: then a choice lasts as long as the tab. */

export function recall(name, storage = "localStorage") {
  try {
    return globalThis[storage].getItem(name);
  } catch {
    return null;
  }
}

/** `undefined` forgets it. */
export function keep(name, value, storage = "localStorage") {
  try {
    if (value === undefined) globalThis[storage].removeItem(name);
    else globalThis[storage].setItem(name, value);
  } catch {
    // Full, or forbidden.
  }
}
