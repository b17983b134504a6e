// What each panel shows of the gateway's answers.

import { bar, el, empty, overTime, put, table } from "./draw.js";
import { clock, count, dash, dollars, interval, millis, moment, percent, points, quality, seconds } from "./words.js";

const seen = new Set();

export function showOverview(found, choose) {
  tiles(found);
  series(found);
  recent(found.recent, choose);
  models(found.models);
  cells(found.cells, found.models);
  arms(found.experiments);
}

function tiles({ totals, experiments }) {
  const measured = experiments.find((one) => one.baseline);
  const main = measured?.arms.filter((arm) => arm.saving).sort((a, b) => b.decisions - a.decisions)[0];
  const failing = totals.unanswered > 0 ? "bad" : null;
  const rows = [
    ["Decisions", count(totals.decisions), `${count(totals.answered)} answered`],
    ["Spent", dollars(totals.spent_usd), totals.decisions ? `${dollars((1000 * totals.spent_usd) / totals.decisions)} per 1,000` : ""],
    ["Saved against baseline", main ? percent(main.saving.value) : dash,
      main ? `${interval(main.saved_usd, dollars)}; ${measured.baseline_model} alone` : "needs an experiment arm with one fixed model"],
    ["Quality", quality(totals.quality), `${count(totals.labelled)} with feedback`],
    ["Unanswered", el("span", { class: failing }, count(totals.unanswered)), `${count(totals.fallbacks)} by fallback`],
    ["Latency, median", millis(totals.p50_ms), `95th percentile ${millis(totals.p95_ms)}`],
  ];
  put("tiles", rows.map(([name, value, note]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, el("small", {}, note)))));
}

function series({ series, since, until, totals }) {
  const words = `${count(totals.decisions)} requests and ${dollars(totals.spent_usd)} over time`;
  const most = (what) => Math.max(0, ...series.points.map((point) => point[what]));
  const step = seconds((until - since) / series.points.length);
  put("series-name", "Over time", el("i", { class: "k0" }), `requests, at most ${count(most("decisions"))} in ${step}`,
    el("i", { class: "k1" }), `spending, at most ${dollars(most("spent_usd"))}`);
  const ends = el("div", { class: "ends" }, el("span", {}, moment(since)), el("span", {}, moment(until)));
  put("series", overTime(series.points, words), ends);
}

function recent(rows, choose) {
  if (!rows.length) return put("recent", empty("No decision in this time."));
  const first = seen.size === 0;
  const body = rows.map((row) => {
    const fresh = !first && !seen.has(row.id);
    const open = () => choose(row.id);
    const why = el("button", { class: "link", type: "button", "data-id": row.id, "aria-haspopup": "dialog" }, clock(row.time));
    const outcome = row.attempts === null ? dash : row.served === null ? el("span", { class: "bad" }, "failed")
      : row.served === row.chosen ? row.served : el("span", {}, row.served, el("small", {}, " by fallback"));
    return { class: fresh ? "pick fresh" : "pick", onclick: open,
      cells: [why, row.label, row.tier ?? dash, row.chosen, outcome, dollars(row.cost_usd), millis(row.latency_ms), quality(row.quality)] };
  });
  for (const row of rows) seen.add(row.id);
  const focused = document.activeElement?.dataset?.id, place = document.querySelector("#recent .tall")?.scrollTop ?? 0;
  put("recent", table("Newest decisions", ["time", "label", "tier", "chosen", "answered by", "cost", "latency", "quality"], body, [1, 2, 3, 4], "tall"));
  document.querySelector("#recent .tall").scrollTop = place;
  if (focused) document.querySelector(`#recent [data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function models(rows) {
  if (!rows.length) return put("models", empty("No model has answered in this time."));
  const body = rows.map((row) => [row.model, el("td", {}, bar(row.share), el("span", { class: "beside" }, percent(row.share))), count(row.decisions),
    dollars(row.spent_usd), row.labelled ? `${quality(row.quality)} of ${count(row.labelled)}` : dash, millis(row.p50_ms)]);
  put("models", table("Models", ["model", "share", "answers", "spent", "quality", "median latency"], body));
}

function cells(rows, models) {
  if (!rows.length) return put("cells", empty("Nothing to show yet."));
  const names = models.map((one) => one.model);
  const found = new Map(rows.map((row) => [`${row.label}\n${row.model}`, row]));
  const labels = [...new Set(rows.map((row) => row.label))];
  const body = labels.map((label) => [label, ...names.map((name) => cell(found.get(`${label}\n${name}`)))]);
  put("cells", table("Quality by label and model", ["label", ...names], body));
}

function cell(row) {
  if (!row) return el("td", {}, el("small", {}, dash));
  const share = el("small", {}, ` ${percent(row.share)}`);
  if (row.quality === null) return el("td", {}, dash, share);
  const depth = Math.round(70 * Math.max(0, Math.min(1, (row.quality - 0.2) / 0.8)));
  return el("td", { class: "heat", style: { "--h": `${depth}%` } }, quality(row.quality), share);
}

export function showHealth(status, providers) {
  const logged = new Map((providers ?? []).map((row) => [row.provider, row]));
  const owned = new Set(Object.values(status.models).map((model) => model.provider));
  const troubled = Object.entries(status.health).filter(([, cell]) => cell.state !== "closed" || cell.reason).map(([name]) => name);
  const names = [...new Set([...owned, ...logged.keys(), ...troubled])].sort();
  const body = names.map((name) => {
    const cell = status.health[name], row = logged.get(name);
    return [name, state(cell), row ? count(row.calls) : dash, row ? failures(row) : dash, millis(row?.p50_ms), millis(row?.p95_ms)];
  });
  const disabled = Object.entries(status.models).filter(([, model]) => !model.enabled);
  const off = disabled.map(([name, model]) => `${name}${model.disabled_until ? ` until ${moment(model.disabled_until)}` : ""}`);
  put("health", names.length ? table("Providers", ["provider or model", "breaker", "calls", "failed", "median", "95th"], body, [1]) : empty("No provider."),
    off.length ? el("p", { class: "lead bad" }, `Disabled: ${off.join(", ")}`) : "", flags(status.flags));
}

function flags(all) {
  const words = Object.entries(all ?? {}).map(([name, flag]) =>
    `${name} ${flag.on ? "on" : flag.off_until ? `off until ${moment(flag.off_until)}` : "off"}`);
  return words.length ? el("p", {}, `Flags: ${words.join(", ")}`) : "";
}

function failures(row) {
  const text = `${percent(row.failed / row.calls, 1)}`;
  return row.failed ? el("span", { class: "bad", title: row.usual_error ?? "" }, text) : text;
}

function state(cell) {
  if (!cell || (cell.state === "closed" && !cell.reason)) return el("span", { class: "state good" }, "closed");
  const words = cell.state === "half_open" ? "half open" : cell.state === "open" ? "open" : "held";
  const wait = cell.closed_for_s > 0 ? `, ${seconds(cell.closed_for_s)}` : "";
  return el("span", { class: "state bad", title: cell.reason ?? "" }, words + wait);
}

export function showBudgets(budgets, tiers) {
  const spent = new Map((tiers ?? []).map((row) => [`tier:${row.tier}`, row]));
  if (!budgets.length) return put("budgets", empty("No tier as a whole has a budget. What each user or key may spend is not listed here."));
  const body = budgets.map((row) => {
    const byMoney = row.limit_usd !== null;
    const share = byMoney ? row.spent_usd / row.limit_usd : row.spent_tokens / row.limit_tokens;
    const text = byMoney ? `${dollars(row.spent_usd)} of ${dollars(row.limit_usd)}` : `${count(row.spent_tokens)} of ${count(row.limit_tokens)} tokens`;
    const used = spent.get(row.account);
    return [row.account.replace(/^tier:/, ""), row.window, el("td", {}, bar(share, true), text), used ? count(used.decisions) : dash];
  });
  put("budgets", table("Budgets", ["tier", "window", "spent", "decisions"], body, [1]));
}

function arms(experiments) {
  if (!experiments.length) return put("arms", empty("No experiment ran in this time. An arm with one fixed model measures the savings."));
  put("arms", experiments.map((one) => {
    const body = one.arms.map((arm) => [arm.model ? `${arm.arm} (${arm.model} alone)` : arm.arm, count(arm.subjects), count(arm.decisions),
      interval(arm.cost_per_1000, dollars), interval(arm.quality, quality), interval(arm.saving, (x) => percent(x)), interval(arm.quality_difference, points)]);
    const columns = ["arm", "users or sessions", "decisions", "cost per 1,000", "quality", "saved", "points of quality"];
    return [el("h3", {}, one.name), table(one.name, columns, body)];
  }).flat());
}

function trainedOn(window) {
  const labels = window.rows_used === undefined ? "" : `, ${count(window.rows_used)} labels`;
  const days = window.from === undefined ? "" : `, ${moment(window.from)} to ${moment(window.to)}`;
  return window.prompts === undefined ? null : `${count(window.prompts)} prompts${labels}${days} (${window.source})`;
}

export function showAbout(about, status) {
  const { bundle, policy } = about;
  const rows = [["bundle", bundle ? bundle.version : "none: the static table chooses"], ["models it knows", bundle ? count(bundle.models) : null],
    ["trained on", bundle ? trainedOn(bundle.trained) : null], ["registry", status.registry], ["strategy", policy.strategy], ["exploration", policy.exploration],
    ...Object.entries(bundle?.metrics ?? {}).slice(0, 6), ["log", status.log ? `${count(status.log.written)} written, ${count(status.log.pending)} waiting, ${count(status.log.dropped)} dropped` : "none"]];
  const facts = rows.filter(([, value]) => value !== null).map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]);
  const link = about.mlflow ? el("p", {}, el("a", { href: about.mlflow, rel: "noopener noreferrer", target: "_blank" }, "Versions, runs and figures in MLflow")) : "";
  put("bundle", el("div", { class: "card" }, el("dl", { class: "facts" }, facts.flat()), verdict(about.retrain), link), changes(status.changes));
}

export function showAgents(about, rows) {
  const found = new Map((rows ?? []).map((row) => [row.agent, row]));
  const names = [...new Set([...Object.keys(about.agents), ...found.keys()])].sort();
  const intents = about.intents.length ? el("p", { class: "lead" }, `Intents: ${about.intents.join(", ")}`) : "";
  if (!names.length) return put("agents", empty("The registry names no agent."), intents);
  const body = names.map((name) => [el("span", { title: about.agents[name] ?? "" }, name), count(found.get(name)?.decisions ?? 0),
    dollars(found.get(name)?.spent_usd), quality(found.get(name)?.quality)]);
  put("agents", table("Agents", ["agent", "decisions", "spent", "quality"], body), intents);
}

function verdict(retrain) {
  if (!retrain) return el("p", { class: "lead" }, "No run of the weekly retraining is known for this bundle.");
  const reasons = retrain.reasons.map((one) => el("li", { class: one.passed ? null : "bad" },
    `${one.passed ? "passed" : "failed"}: ${one.check}: ${one.detail}`));
  const tone = retrain.outcome === "promoted" ? "good" : retrain.outcome === "kept" ? null : "bad";
  return el("div", {}, el("h3", {}, "Last retraining: ", el("span", { class: tone }, retrain.outcome)),
    el("p", { class: "lead" }, `${moment(retrain.time)}${retrain.version ? `, version ${retrain.version}` : ""}. ${retrain.summary}`),
    reasons.length ? el("ul", {}, reasons) : "");
}

function changes(rows) {
  if (!rows.length) return "";
  const body = [...rows].reverse().slice(0, 5).map((row) => [moment(row.time), row.what, row.refused ? el("span", { class: "bad" }, row.refused) : `took over ${row.taken}`]);
  return el("div", {}, el("h3", {}, "Changes"), table("Changes", ["time", "what", "outcome"], body, [1, 2]));
}
