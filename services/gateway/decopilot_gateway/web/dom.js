/** `h("p", {className: "x"}, "text", node)`: an element, its properties and its children; text stays text. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A button that does one thing; `content` is a text or a node. */
export function button(content, className, testId, onClick) {
  const element = h("button", { type: "button", className, ...(testId ? { "data-testid": testId } : {}) }, content);
  element.addEventListener("click", onClick);
  return element;
}

/** Say what a button with nothing but a sign does. */
export function label(element, text) {
  if (element.title === text) return;
  element.title = text;
  element.setAttribute("aria-label", text);
}

/** Set a text only where it is another one: a selection in it, and a screen reader's place, stay. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set a property only where it is another one: a browser lays out anew even for the same placeholder. */
export function setProperty(element, name, value) {
  if (element[name] !== value) element[name] = value;
}

/** Have `element`'s first children be these, moving none that stands where it should. */
export function arrange(element, children) {
  for (const [index, child] of children.entries()) {
    const there = element.children[index];
    if (there !== child) element.insertBefore(child, there ?? null);
  }
}

/** Put a text where it can be pasted from, and say so on the button for a moment. */
export async function copy(text, told) {
  const wasWritten = await navigator.clipboard.writeText(text).then(() => true, () => false);
  told(wasWritten ? "Copied" : "Not allowed");
  setTimeout(() => told(undefined), 1_500);
}
