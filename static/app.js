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

const tickers = document.querySelector("[data-tickers]");
if (tickers) {
  const dates = ["start_date", "end_date"].map((name) => tickers.form.elements[name]);
  const limit = (reset) => {
    const { first, last } = tickers.selectedOptions[0].dataset;
    if (!first) return;
    const outside = dates[0].value >= last || dates[1].value <= first;
    if (reset || outside) [dates[0].value, dates[1].value] = [first, last];
  };
  tickers.addEventListener("change", () => limit(true));
}

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const unfinished = () => document.querySelector("[data-status-url]");

// The result page: loads itself anew when the run's state changes, or what keeps it waiting.
async function followRun(badge, shownHint) {
  const shown = badge.classList[1];
  for (;;) {
    await wait(1);
    const answer = await fetch(badge.dataset.statusUrl, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer?.ok) continue;
    const { status, hint } = await answer.json();
    if (status !== shown || (hint ?? "") !== shownHint) return location.reload();
    await swap("[data-progress]", location.href);
  }
}

// Puts what the page says now in the place of what it said before.
async function swap(selector, page) {
  const old = document.querySelector(selector);
  if (!old) return;
  const answer = await fetch(page, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(selector);
  if (fresh) old.replaceWith(fresh);
}

// Pages with a table of runs: swap the table and leave the form as it is being filled in.
async function followTable() {
  const page = document.querySelector("[data-page]").dataset.page || location.href;
  while (unfinished()) {
    await wait(2);
    await swap(".runs", page);
  }
}

const following = document.querySelector("[data-reload]");
if (following) followRun(unfinished(), following.dataset.hint);
else if (document.querySelector(".runs")) followTable();
