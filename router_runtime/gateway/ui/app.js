// The dashboard: signs in, asks the gateway every few seconds, shows what it says.

import { showAbout, showAgents, showBudgets, showHealth, showOverview } from "./panels.js";
import { put } from "./draw.js";
import { showWhy } from "./why.js";

const EVERY_MS = 4000, KEY = "pointsman-admin-key";
const page = Object.fromEntries(["login", "key", "wrong", "notice", "main", "hours", "pause", "leave", "why", "serving"]
  .map((id) => [id, document.getElementById(id)]));
let timer = null, paused = false, opener = null, asked = 0, overview = null;

const PANELS = ["tiles", "series", "recent", "models", "cells", "arms"]; // those that the log fills

class Refused extends Error {}

async function get(path) {
  const key = sessionStorage.getItem(KEY);
  const answer = await fetch(path, { headers: key ? { authorization: `Bearer ${key}` } : {}, cache: "no-store" });
  const body = await answer.json();
  if (answer.ok) return body;
  const message = body.error?.message ?? `the gateway answered ${answer.status}`;
  throw answer.status === 401 || answer.status === 403 ? new Refused(message) : new Error(message);
}

/** What `path` says, or null with a word to people: one panel that fails leaves the others alone. */
async function tried(path, words) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refused) throw error;
    words.push(error.message);
    return null;
  }
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++asked, words = [];
  try {
    const status = await get("/admin/status"); // alone, so that one answer tells whether the key holds
    const about = await get("/ui/api/about");
    if (mine !== asked) return;
    signedIn();
    page.serving.textContent = `${status.draining ? "draining" : "serving"}, ${status.active} under way`;
    showAbout(about, status);
    showLive(status, about);
    const found = await tried(`/ui/api/overview?hours=${page.hours.value}`, words); // a long log takes its time
    if (mine !== asked) return;
    if (found) showOverview((overview = found), openWhy);
    for (const id of PANELS) document.getElementById(id).toggleAttribute("data-stale", !found);
    showLive(status, about);
    say(words.join("; "));
  } catch (error) {
    if (mine !== asked) return;
    if (error instanceof Refused) return signIn(error.message);
    say(`The gateway does not answer (${error.message}); trying again.`);
  }
  if (!paused) timer = setTimeout(refresh, EVERY_MS);
}

function showLive(status, about) {
  showHealth(status, overview?.providers);
  showBudgets(status.budgets, overview?.tiers);
  showAgents(about, overview?.agents);
}

function say(text) {
  page.notice.hidden = !text;
  if (page.notice.textContent !== text) page.notice.textContent = text;
}

function signIn(reason) {
  clearTimeout(timer);
  page.main.hidden = page.leave.hidden = true;
  page.wrong.textContent = sessionStorage.getItem(KEY) ? reason : "";
  sessionStorage.removeItem(KEY);
  const shown = !page.login.hidden;
  page.login.hidden = false;
  if (!shown || page.wrong.textContent) page.key.focus();
}

function signedIn() {
  page.leave.hidden = !sessionStorage.getItem(KEY);
  if (!page.login.hidden) {
    page.login.hidden = true;
    page.main.hidden = false;
    page.main.focus();
  }
  page.main.hidden = false;
}

async function openWhy(id) {
  opener = id;
  put("why-body", "…");
  if (!page.why.open) page.why.showModal();
  try {
    showWhy(await get(`/ui/api/decisions/${encodeURIComponent(id)}`));
  } catch (error) {
    put("why-body", error.message);
  }
}

page.login.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, page.key.value.trim());
  page.key.value = "";
  refresh();
});
page.leave.addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});
page.hours.addEventListener("change", refresh);
page.pause.addEventListener("click", () => {
  paused = !paused;
  page.pause.setAttribute("aria-pressed", String(paused));
  page.pause.textContent = paused ? "Go on" : "Pause";
  if (paused) clearTimeout(timer);
  else refresh();
});
page.why.addEventListener("close", () => {
  document.querySelector(`#recent [data-id="${CSS.escape(opener ?? "")}"]`)?.focus();
});
page.why.addEventListener("click", (event) => {
  if (event.target === page.why) page.why.close();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (!paused && page.login.hidden) refresh();
});
refresh();
