// Why a decision was made: its candidates, what was filtered out, its attempts and the feedback on it.

import { el, empty, put, table } from "./draw.js";
import { count, dash, dollars, millis, moment, percent, quality } from "./words.js";

export function showWhy(found) {
  const { decision, attempts, feedback } = found;
  document.getElementById("why-title").textContent = `Why ${decision.chosen}`;
  put("why-body", facts(decision), candidates(decision), filtered(decision), calls(attempts), signals(feedback),
    el("p", { class: "lead" }, found.prompt_logged ? "The prompt is in the log; it is not shown here." : "The log keeps no prompt."));
}

function facts(made) {
  const rows = [["when", moment(made.time)], ["policy", made.policy], ["drawn with probability", percent(made.propensity, 1)],
    ["labels", made.labels?.join(", ") || null], ["predicted domain", made.task ? `${made.task.domain} (${percent(made.task.domain_probability)})` : null],
    ["intent", made.intent], ["agent", made.agent], ["tier", made.tier], ["experiment", made.arm], ["bundle", made.bundle_version], ["prices", made.price_version],
    ["decided in", `${made.elapsed_ms?.toFixed(2) ?? dash} ms`], ["id", el("code", {}, made.id)]];
  return el("dl", { class: "facts card" }, rows.filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]).flat());
}

function candidates(made) {
  const body = made.candidates.map((one) => ({ class: one.model === made.chosen ? "chosen" : null,
    cells: [one.model + (one.model === made.chosen ? " (chosen)" : "") + (one.known ? "" : " *"), quality(one.quality), count(Math.round(one.output_tokens)),
      dollars(one.cost_usd), millis(one.latency_ms), one.score.toFixed(3), percent(one.probability, 1)] }));
  const note = made.candidates.some((one) => !one.known) ? el("p", { class: "lead" }, "* not known to the bundle; predicted from the registry's description.") : "";
  return el("div", {}, el("h3", {}, "Candidates"), table("Candidates", ["model", "predicted quality", "tokens out", "cost", "latency", "score", "share"], body), note);
}

function filtered(made) {
  const rows = Object.entries(made.filtered ?? {});
  if (!rows.length) return "";
  return el("div", {}, el("h3", {}, "Left out"), table("Left out", ["model", "reason"], rows, [1]));
}

function calls(attempts) {
  const head = el("h3", {}, "Attempts");
  if (!attempts.length) return el("div", {}, head, empty("No call was logged."));
  const body = attempts.map((one) => [`${one.index + 1}. ${one.model}`, one.provider, one.error ? el("span", { class: "bad" }, one.error) : "answered",
    one.status ?? dash, dollars(one.cost_usd), millis(one.latency_ms), `${count(one.input_tokens)} / ${count(one.output_tokens)}`]);
  return el("div", {}, head, table("Attempts", ["model", "provider", "outcome", "status", "cost", "latency", "tokens in / out"], body, [1, 2]));
}

function signals(rows) {
  if (!rows.length) return "";
  const body = rows.map((one) => [one.metric, one.source, quality(one.value), moment(one.time)]);
  return el("div", {}, el("h3", {}, "Feedback"), table("Feedback", ["metric", "source", "value", "when"], body, [1]));
}
