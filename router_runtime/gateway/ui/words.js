// Numbers in words, the same everywhere.

export const dash = "–";

export function count(number) {
  return number === null || number === undefined ? dash : Number(number).toLocaleString("en-US");
}

export function dollars(usd) {
  if (usd === null || usd === undefined) return dash;
  const size = Math.abs(usd), sign = usd < 0 ? "−" : "";
  if (size >= 100) return `${sign}$${Math.round(size).toLocaleString("en-US")}`;
  if (size >= 0.01 || size === 0) return `${sign}$${size.toFixed(2)}`;
  return `${sign}$${Number(size.toPrecision(2))}`;
}

export function percent(share, digits = 0) {
  return share === null || share === undefined ? dash : `${(100 * share).toFixed(digits)} %`;
}

export function quality(value) {
  return value === null || value === undefined ? dash : value.toFixed(2);
}

export function millis(value) {
  if (value === null || value === undefined) return dash;
  return value >= 10000 ? `${(value / 1000).toFixed(1)} s` : `${count(Math.round(value))} ms`;
}

export function seconds(value) {
  if (value < 90) return `${Math.ceil(value)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

export function clock(time) {
  return new Date(1000 * time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function moment(time) {
  return new Date(1000 * time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** "64 % (61 to 66 %)" of {value, low, high}. */
export function interval(found, show) {
  if (!found || found.value === null) return dash;
  return found.low === null ? show(found.value) : `${show(found.value)} (${show(found.low)} to ${show(found.high)})`;
}

export function points(value) {
  const text = (100 * Math.abs(value)).toFixed(1);
  return `${Number(text) === 0 ? "" : value < 0 ? "−" : "+"}${text}`;
}
