/** Positions in a thread's stream of chunks. */

/**
 * Order of `<sequence>-<index>`; an id of another form is taken as new rather than dropped.
 * @param {string | undefined} id
 * @param {string | undefined} other
 */
export function isAfter(id, other) {
  const [a, b] = [id, other].map((text) => /^(\d+)-(\d+)$/.exec(text ?? "")?.slice(1).map(Number));
  return !a || !b || a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
}
