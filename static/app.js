// The pages work without this file; with it parameters follow the chosen rule and states update themselves.

const rules = document.querySelector("[data-rules]");
if (rules) {
  const show = () => {
    for (const fieldset of document.querySelectorAll("[data-rule]")) {
      fieldset.hidden = fieldset.disabled = fieldset.dataset.rule !== rules.value;
    }
  };
  rules.addEventListener("change", show);
  show();
}

// The dates of the first ticker's prices; null where there are none, or no answer.
const tickerField = document.querySelector("[data-presets]")?.closest("form").querySelector("[name=ticker], [name=tickers]");
async function pricesOfTicker() {
  const name = tickerField.value.split(/[\s,;]+/).find(Boolean)?.toUpperCase();
  if (!name) return null;
  const address = `${tickerField.dataset.tickers}?prefix=${encodeURIComponent(name)}&limit=1`;
  const answer = await fetch(address, { headers: { Accept: "application/json" } }).catch(() => null);
  const found = answer?.ok ? (await answer.json()).tickers[0] : null;
  return found && [found.ticker, ...found.names].some((each) => each.toUpperCase() === name) ? found : null;
}

// Dates stay as they are where there are prices; the first or last day of these where there are none.
async function limitDates() {
  const prices = await pricesOfTicker();
  if (!prices) return;
  document.querySelector("[data-range]").textContent = `; ${prices.ticker}: ${prices.first_day} – ${prices.last_day}`;
  const { start_date: start, end_date: end } = tickerField.form.elements;
  const isComplete = start.value && end.value;
  const isApart = isComplete && (start.value >= prices.last_day || end.value <= prices.first_day);
  if (isApart || (start.value && start.value < prices.first_day)) start.value = prices.first_day;
  if (isApart || end.value > prices.last_day) end.value = prices.last_day;
}

async function setPeriod(years) {
  const prices = await pricesOfTicker();
  if (!prices) return;
  const { start_date: start, end_date: end } = tickerField.form.elements;
  const [year, rest] = [prices.last_day.slice(0, 4), prices.last_day.slice(4)];
  const back = years === "all" ? "" : `${Number(year) - Number(years)}${rest === "-02-29" ? "-02-28" : rest}`;
  start.value = back > prices.first_day ? back : prices.first_day;
  end.value = prices.last_day;
}

if (tickerField) {
  tickerField.addEventListener("change", limitDates);
  const presets = document.querySelector("[data-presets]");
  presets.hidden = false;
  presets.addEventListener("click", ({ target }) => target.dataset.preset && setPeriod(target.dataset.preset));
}

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const unfinished = () => document.querySelector("[data-status-url]");
const WAIT_SECONDS = 5; // the place in the queue changes meanwhile

// The page of a run: shows where it stands, and loads anew once that is something else.
async function followRun(badge) {
  const shown = badge.classList[1];
  let known = "";
  for (;;) {
    const start = Date.now();
    const news = await askForNews(badge.dataset.statusUrl, known);
    if (news?.status && news.status !== shown) return location.reload();
    if (news) {
      known = news.tag;
      await swap("[data-standing]", location.href);
    }
    // A server that answers at once, for whatever reason, is asked once a second.
    await wait(Math.max(0, 1 - (Date.now() - start) / 1000));
  }
}

// Waits for another state than the known one; null where there is no answer.
async function askForNews(url, known) {
  const headers = { Accept: "application/json", ...(known && { "If-None-Match": known }) };
  try {
    // Nothing is known yet: the first answer comes at once.
    const answer = await fetch(`${url}?wait=${known ? WAIT_SECONDS : 0}`, { headers, cache: "no-store" });
    if (answer.status === 304) return { tag: known, status: null };
    return answer.ok ? { tag: answer.headers.get("ETag") ?? "", status: (await answer.json()).status } : null;
  } catch {
    return null;
  }
}

// Seconds go on counting between two answers.
setInterval(() => {
  for (const elapsed of document.querySelectorAll("[data-elapsed]")) {
    elapsed.dataset.elapsed = Number(elapsed.dataset.elapsed) + 1;
    elapsed.textContent = elapsed.dataset.elapsed;
  }
}, 1000);

// Puts what the page says now in the place of what it said before.
async function swap(selector, page) {
  const old = document.querySelector(selector);
  if (!old) return;
  const answer = await fetch(page, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(selector);
  if (!fresh) return null;
  return replace(old, fresh);
}

// What the reader chose stays chosen; where the reader is at work in it, the old part stays.
function replace(old, fresh) {
  if (old.querySelector("[name=run]") && old.contains(document.activeElement)) return null;
  const chosen = new Set([...old.querySelectorAll("[name=run]:checked")].map((box) => box.value));
  for (const box of fresh.querySelectorAll("[name=run]")) box.checked = chosen.has(box.value);
  old.replaceWith(fresh);
  fresh.querySelectorAll("time[data-local]").forEach(localTime);
  return fresh;
}

// Pages with a table of runs: swap the table and leave the form as it is being filled in.
async function followTable() {
  const page = document.querySelector("[data-page]").dataset.page || location.href;
  while (unfinished()) {
    await wait(2);
    await swap(".runs", page);
  }
}

// The matrix of a batch follows its runs; once all have ended, the page has their comparison.
async function followBatch() {
  while (unfinished()) {
    await wait(2);
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) continue;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const isAtWork = document.querySelector(".batch :focus, .batch [name=run]:checked");
    if (!page.querySelector("[data-status-url]") && !isAtWork) return location.reload();
    for (const part of [".matrix", ".lead"]) replace(document.querySelector(part), page.querySelector(part));
  }
}

const following = document.querySelector("[data-standing]");
if (following) followRun(unfinished());
else if (document.querySelector("[data-follow]")) followBatch();
else if (document.querySelector(".runs")) followTable();

// The form of a search says what it would compute, or what is wrong, as it is filled in.
const estimateField = document.querySelector("[data-estimate]");
let estimates = 0;
async function estimate() {
  const mine = (estimates += 1);
  await wait(0.4);
  if (mine !== estimates) return;
  const form = estimateField.closest("form");
  const body = new URLSearchParams(new FormData(form));
  const answer = await fetch(estimateField.dataset.estimate, { method: "POST", body, headers: { Accept: "application/json" } }).catch(() => null);
  const told = answer && (await answer.json().catch(() => null));
  if (mine === estimates && told) estimateField.textContent = told.sentence ?? told.error;
}
if (estimateField) {
  estimateField.closest("form").addEventListener("input", estimate);
  estimateField.closest("form").addEventListener("change", estimate);
  estimate();
}

// Enter in the field of the tag adds it; the form's first button would compare.
document.querySelector(".bulk [name=tag]")?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  event.target.form.querySelector("[name=action][value=tag]").click();
});

// How many runs are chosen stands beside the buttons.
document.addEventListener("change", ({ target }) => {
  const form = target.name === "run" ? target.form : null;
  const told = form?.querySelector("[data-chosen]");
  if (told) told.textContent = form.querySelectorAll("[name=run]:checked").length || "";
});

// What was done is said once: whoever is sent the address does not see it.
if (document.querySelector(".done")) {
  const address = new URL(location);
  for (const name of ["did", "count"]) address.searchParams.delete(name);
  history.replaceState(null, "", address);
}

// Times of the server are UTC; the reader's clock says more to the reader.
for (const time of document.querySelectorAll("time[data-local]")) localTime(time);

function localTime(time) {
  const moment = new Date(time.dateTime);
  time.title = time.textContent.trim();
  time.textContent = moment.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
}

// Whoever follows a link to the same table gets the table anew, not the page.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("#trades a[href$='#trades']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const label = link.textContent;
  const fresh = await swap("#trades", link.href);
  if (!fresh) {
    location.href = link.href;
    return;
  }
  history.replaceState(null, "", link.href);
  [...fresh.querySelectorAll("a")].find((each) => each.textContent === label)?.focus();
});

const copyButton = document.querySelector("[data-copies]");
if (copyButton && navigator.clipboard) {
  copyButton.hidden = false;
  copyButton.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector("[data-copy]").value);
    copyButton.textContent = copyButton.dataset.copies;
  });
}
