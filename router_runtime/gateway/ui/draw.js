// Elements and small pictures. Text enters the page as text only, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; `style` entries are set one by one, which the page's policy allows. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "style") for (const [name, part] of Object.entries(value)) node.style.setProperty(name, part);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Puts `children` in place of what the element with this id holds. */
export function put(id, ...children) {
  document.getElementById(id).replaceChildren(...children.flat());
}

/** A table in a region that scrolls by itself; cells are texts or nodes. */
export function table(name, columns, rows, left = [], kind = "") {
  const side = (place) => (left.includes(place) ? { class: "l" } : {});
  const head = el("tr", {}, columns.map((text, i) => el("th", { scope: "col", ...side(i) }, text)));
  const body = rows.map((row) => {
    const { cells, ...attributes } = Array.isArray(row) ? { cells: row } : row;
    return el("tr", attributes, cells.map((cell, i) => asCell(cell, i, side(i))));
  });
  const whole = el("table", {}, el("thead", {}, head), el("tbody", {}, body));
  return el("div", { class: `wide ${kind}`.trim(), tabindex: "0", role: "region", "aria-label": name }, whole);
}

function asCell(cell, place, attributes) {
  if (cell instanceof HTMLTableCellElement) return cell;
  return place === 0 ? el("th", { scope: "row" }, cell) : el("td", attributes, cell);
}

export function empty(text) {
  return el("p", { class: "empty" }, text);
}

/** A bar of a share 0..1; it warms up near its end where `alarm` is set. */
export function bar(share, alarm = false) {
  const width = Math.max(0, Math.min(1, share || 0));
  const tone = alarm && width >= 0.95 ? "hot" : alarm && width >= 0.8 ? "warm" : null;
  const inner = el("i", { class: tone, style: { "--w": `${(100 * width).toFixed(1)}%` } });
  return el("span", { class: "bar", "aria-hidden": "true" }, inner);
}

/** Requests as columns and spending as a line, both from zero. */
export function overTime(points, words) {
  const width = 600, height = 120, step = width / points.length;
  const most = Math.max(1, ...points.map((p) => p.decisions));
  const dearest = Math.max(1e-12, ...points.map((p) => p.spent_usd));
  const columns = points.map((p, i) => {
    const tall = (height * p.decisions) / most;
    return svg("rect", { class: "col", x: i * step + 1, y: height - tall, width: step - 2, height: tall });
  });
  const line = points.map((p, i) => `${i * step + step / 2},${height - (height * p.spent_usd) / dearest}`).join(" ");
  const shape = { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": words };
  return svg("svg", shape, columns, svg("polyline", { class: "spent", points: line }));
}
