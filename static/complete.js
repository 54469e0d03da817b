// Completion of what is typed: the last word of a search, of a list of tickers or of rules.
// Fields with data-complete work without it, too.

const MOST_SUGGESTIONS = 12;
const MOST_TICKERS = 20;
const known = new Map(); // answers of the list of tickers, by what was typed

async function tickersLike(address, start) {
  const key = `${address}?prefix=${encodeURIComponent(start)}&limit=${MOST_TICKERS}`;
  if (!known.has(key)) {
    const answer = await fetch(key, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer?.ok) return [];
    known.set(key, (await answer.json()).tickers);
  }
  return known.get(key);
}

// Each kind: where the word begins that is completed, and what it may become.
const KINDS = {
  async tickers(field, word) {
    const found = await tickersLike(field.dataset.tickers, word);
    return found.map((each) => ({ value: each.ticker, detail: [...each.names, `${each.first_day} – ${each.last_day}`].join(" · ") }));
  },
  async rules(field, word) {
    const wanted = word.toUpperCase();
    return JSON.parse(field.dataset.choices).filter((each) => each.value.includes(wanted));
  },
  async query(field, word) {
    const choices = JSON.parse(field.dataset.choices);
    const condition = /^(\w+)(!=|=)(.*,)?([^,]*)$/.exec(word);
    if (!condition) {
      const names = JSON.parse(field.dataset.fields);
      const start = word.toLowerCase();
      return names.filter((name) => name.includes(start)).map((name) => ({ value: choices[name]?.operator ? name + choices[name].operator : name, detail: choices[name]?.meaning ?? "", isOpen: Boolean(choices[name]?.operator) }));
    }
    const [, name, comparison, before = "", start] = condition;
    const values = choices[name]?.values ?? [];
    const wanted = start.toLowerCase();
    let found = values.filter((value) => value.toLowerCase().startsWith(wanted)).map((value) => ({ value, detail: "" }));
    if (name === "ticker") found = (await tickersLike(field.dataset.tickers, start)).map((each) => ({ value: each.ticker, detail: each.names.join(" · ") }));
    return found.map((each) => ({ ...each, value: `${name}${comparison}${before}${each.value}` }));
  },
};

const SEPARATORS = { tickers: /[\s,;]/, rules: /[\s;]/, query: /\s/ };

// The word around the caret: from where to where it reaches, and what of it stands before the caret.
function wordAt(field) {
  const text = field.value;
  const separator = SEPARATORS[field.dataset.complete];
  let start = field.selectionStart;
  let end = field.selectionStart;
  while (start > 0 && !separator.test(text[start - 1])) start -= 1;
  while (end < text.length && !separator.test(text[end])) end += 1;
  return { start, end, word: text.slice(start, field.selectionStart) };
}

let fields = 0;
function complete(field) {
  const list = document.createElement("ul");
  list.className = "suggestions";
  list.id = `suggestions-${(fields += 1)}`;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", field.closest("label")?.firstChild?.textContent.trim() ?? "");
  list.hidden = true;
  field.after(list);
  // The list stands in the label, and would become a part of the field's name.
  field.setAttribute("aria-label", list.getAttribute("aria-label"));
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id, autocomplete: "off" })) field.setAttribute(name, value);
  let chosen = -1;
  let asked = 0;
  let span; // the part of the text that a suggestion replaces

  function close() {
    asked += 1;
    list.hidden = true;
    chosen = -1;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function mark(place) {
    chosen = place;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", at === chosen));
    list.children[chosen]?.scrollIntoView({ block: "nearest" });
    if (chosen >= 0) field.setAttribute("aria-activedescendant", list.children[chosen].id);
  }

  function take(item) {
    const { start } = span;
    const rest = field.value.slice(span.end);
    const isOpen = item.dataset.open !== undefined;
    const end = isOpen ? "" : field.dataset.complete === "tickers" ? (rest || field.dataset.single !== undefined ? "" : ", ") : rest.startsWith(" ") ? "" : " ";
    field.value = field.value.slice(0, start) + item.dataset.value + end + rest;
    const at = start + item.dataset.value.length + end.length;
    field.setSelectionRange(at, at);
    close();
    field.dispatchEvent(new Event("change", { bubbles: true }));
    if (isOpen) suggest();
  }

  async function suggest() {
    const mine = (asked += 1);
    const here = wordAt(field);
    const { word } = here;
    const found = (await KINDS[field.dataset.complete](field, word)).filter((each) => each.value !== word).slice(0, MOST_SUGGESTIONS);
    if (mine !== asked) return;
    span = here;
    const before = list.children[chosen]?.dataset.value;
    list.replaceChildren(...found.map((each, at) => {
      const item = document.createElement("li");
      item.id = `${list.id}-${at}`;
      item.setAttribute("role", "option");
      item.dataset.value = each.value;
      if (each.isOpen) item.dataset.open = "";
      const detail = document.createElement("small");
      detail.textContent = each.detail ?? "";
      item.append(each.value, " ", detail);
      return item;
    }));
    list.hidden = !found.length;
    field.setAttribute("aria-expanded", String(Boolean(found.length)));
    mark(found.findIndex((each) => each.value === before));
  }

  // While the answer is on its way, the list keeps what still fits the text.
  function narrow() {
    if (list.hidden) return;
    span = wordAt(field);
    const wanted = span.word.toLowerCase();
    for (const item of [...list.children]) if (!item.dataset.value.toLowerCase().includes(wanted)) item.remove();
    if (!list.children.length) close();
    else mark(-1);
  }

  field.addEventListener("input", () => {
    narrow();
    suggest();
  });
  field.addEventListener("focus", () => field.dataset.complete !== "query" || suggest());
  field.addEventListener("blur", close);
  field.addEventListener("click", close);
  list.addEventListener("mousedown", (event) => {
    event.preventDefault(); // the field keeps the focus
    const item = event.target.closest("li");
    if (item) take(item);
  });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // a letter that is not finished, as in Korean
    if (list.hidden) {
      if (event.key !== "ArrowDown") return;
      event.preventDefault(); // the caret stays where it is
      suggest();
      return;
    }
    if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) close();
    const count = list.children.length;
    if (event.key === "ArrowDown") mark((chosen + 1) % count);
    else if (event.key === "ArrowUp") mark((chosen - 1 + count) % count);
    else if (event.key === "Escape") close();
    else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) take(list.children[chosen]);
    else return;
    event.preventDefault();
  });
}

document.querySelectorAll("[data-complete]").forEach(complete);
