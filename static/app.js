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

async function follow(badge) {
  const reload = document.querySelector("[data-reload]");
  const shown = badge.classList[1];
  for (;;) {
    await wait(1);
    const answer = await fetch(badge.dataset.statusUrl, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer || !answer.ok) continue;
    const { status, poll_after_s: pause } = await answer.json();
    if (pause === null || (reload && status !== shown)) return location.reload();
    await wait(pause - 1);
  }
}

document.querySelectorAll("[data-status-url]").forEach(follow);
