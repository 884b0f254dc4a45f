/** The signs of the page, drawn as lines in the colour of the text around them; what they mean is said beside them. */

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  archive: "M3 4h14v4H3zM4.5 8v8h11V8M8 11.5h4",
  auto: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  check: "M4 10.5l4 4 8-9",
  close: "M5 5l10 10M15 5L5 15",
  copy: "M7 7h9v9H7zM13 7V4H4v9h3",
  dark: "M16 11.5A6.5 6.5 0 1 1 8.5 4a5 5 0 0 0 7.5 7.5z",
  fork: "M6 4v12M6 10h4a4 4 0 0 0 4-4V4M11.5 6.5L14 4l2.5 2.5",
  inspect: "M3 16h14M5 13V9M10 13V4M15 13V7",
  left: "M12 4l-6 6 6 6",
  light:
    "M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7" +
    "M10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  lock: "M5 9h10v7H5zM7 9V7a3 3 0 0 1 6 0v2",
  regenerate: "M16 10a6 6 0 1 1-1.8-4.3M16 3v3.5h-3.5",
  rename: "M4 16l.8-3.4L13 4.4l2.6 2.6-8.2 8.2zM11.5 6l2.6 2.6",
  right: "M8 4l6 6-6 6",
  search: "M9 4a5 5 0 1 1 0 10A5 5 0 0 1 9 4M13 13l4 4",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.7 10h7.6l.7-10M8.5 9v4.5M11.5 9v4.5",
  unlock: "M5 9h10v7H5zM7 9V7a3 3 0 0 1 5.6-1.5",
  unarchive: "M3 4h14v4H3zM4.5 8v8h11V8M10 14v-4M8 11.5l2-2 2 2",
};

export function icon(name, size = 16) {
  const drawing = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 20 20",
    width: size,
    height: size,
    "aria-hidden": "true",
  })) {
    drawing.setAttribute(key, value);
  }
  path.setAttribute("class", "line");
  path.setAttribute("d", PATHS[name]);
  drawing.append(path);
  return drawing;
}
