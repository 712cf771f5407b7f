// The filters and the list of completions.
import { $, ARMS, MARKS, PHASES, ask, count, decimal, known, make, percent } from "./common.js";

const FACETS = { run: "Run", arm: "Arm", round: "Round", phase: "Drawn for", split: "Split", role: "Role", verdict: "Verdict" };
const FIELDS = ["text", "step_from", "step_to", "problem"];
const NAMES = { phase: PHASES, arm: ARMS, round: { "-1": "start" } };

/** What is asked for: as in the address, without the item. */
export const state = { facets: Object.fromEntries(Object.keys(FACETS).map((name) => [name, []])), fields: {}, sort: "newest", page: 1 };
export let rows = [];
export let version = -1;

export const readAddress = (query) => {
  for (const name of Object.keys(FACETS)) state.facets[name] = query.getAll(name);
  for (const name of FIELDS) { state.fields[name] = query.get(name) ?? ""; $(name).value = state.fields[name]; }
  state.sort = query.get("sort") ?? "newest";
  $("sort").value = state.sort;
  if (!$("sort").value) $("sort").value = state.sort = "newest";
  state.page = Math.max(1, Number(query.get("page")) || 1);
};

export const parameters = () => [
  ...Object.entries(state.facets).flatMap(([name, chosen]) => chosen.map((value) => [name, value])),
  ...FIELDS.filter((name) => state.fields[name]).map((name) => [name, state.fields[name]]),
  ...(state.sort === "newest" ? [] : [["sort", state.sort]]),
  ...(state.page === 1 ? [] : [["page", String(state.page)]]),
];

let pending = null;
/** Ask for the page of completions and show it; the old one stands until then. Returns whether it was shown. */
export const load = async () => {
  pending?.abort();
  pending = new AbortController();
  const found = await ask("completions", parameters(), pending.signal);
  if (state.page > found.pages) { state.page = found.pages; return load(); }
  version = found.version;
  rows = found.rows;
  $("total").textContent = `${count(found.total)} completion${found.total === 1 ? "" : "s"}${found.texts === null || found.texts === found.total ? "" : `, ${count(found.texts)} texts`}`;
  $("page").textContent = `${count(found.page)} / ${count(found.pages)}`;
  $("previous").disabled = found.page <= 1;
  $("next").disabled = found.page >= found.pages;
  $("fresh").hidden = true;
  showFacets(found.facets);
  showRows();
  return found;
};

const showFacets = (facets) => {
  const active = Object.values(state.facets).flat().length + FIELDS.filter((name) => state.fields[name]).length;
  $("active").textContent = active ? `(${active})` : "";
  const focused = document.activeElement?.dataset?.chip;
  $("facets").replaceChildren(...Object.entries(FACETS).flatMap(([name, title]) => {
    const values = facets[name].map(([value, number]) => [String(value), number]);
    for (const chosen of state.facets[name]) if (!values.some(([value]) => value === chosen)) values.push([chosen, 0]);
    if (values.length < 2 && !state.facets[name].length) return [];
    const chips = values.map(([value, number]) => {
      const chip = make("button", "chip", "", make("span", "", NAMES[name]?.[value] ?? value), make("i", "", count(number)));
      chip.type = "button";
      chip.dataset.chip = `${name}=${value}`;
      chip.setAttribute("aria-pressed", String(state.facets[name].includes(value)));
      chip.addEventListener("click", () => {
        const chosen = state.facets[name];
        state.facets[name] = chosen.includes(value) ? chosen.filter((v) => v !== value) : [...chosen, value];
        changed();
      });
      return chip;
    });
    return [make("fieldset", "", "", make("legend", "", title), make("div", "chips", "", ...chips))];
  }));
  if (focused) [...$("facets").querySelectorAll(".chip")].find((chip) => chip.dataset.chip === focused)?.focus();
};

const EMPTY = {
  disagreement: "No completion here has scores of two verifiers yet: legibility evaluate stores them for test and validation text.",
  fooled: "No wrong text here has a score yet.",
};

const showRows = () => {
  $("empty").hidden = rows.length > 0 && !(EMPTY[state.sort] && rows[0][state.sort] === null);
  $("empty").textContent = rows.length ? EMPTY[state.sort] ?? "" : "No completion fits these filters.";
  $("rows").replaceChildren(...rows.map((row) => make("li", "", "", rowLink(row))));
};

/** The address of an item under the filters of the moment. */
export const address = (id) => `?${new URLSearchParams([...parameters(), ...(id ? [["item", id]] : [])])}`;

const rowLink = (row) => {
  const link = make("a", "row");
  link.href = address(row.id);
  link.dataset.id = row.id;
  const head = make("div", "head", "", mark(row.verdict), make("span", `role ${known(row.role, ["helpful", "sneaky", "base"])}`, row.writer),
    make("span", "where", place(row)));
  if (row.fooled !== null && (state.sort === "fooled" || row.fooled >= 0.9)) head.append(make("span", "figure incorrect", `fooled ${percent(row.fooled)}`));
  if (state.sort === "disagreement") head.append(make("span", "figure", `disagree ${percent(row.disagreement)}`));
  if (state.sort.startsWith("reward")) head.append(make("span", "figure", `reward ${decimal(row.reward)}`));
  if (state.sort === "longest") head.append(make("span", "figure", `${row.completion_tokens} tokens`));
  if (row.copies > 1) {
    const copies = make("span", "figure", `×${count(row.copies)}`);
    copies.title = `${count(row.copies)} completions with this text, by the same writer of the same problem`;
    head.append(copies);
  }
  head.append(make("span", "figure", row.score === null ? "no score" : `score ${decimal(row.score)}`));
  link.append(head, make("div", "snippet", oneLine(row.text)));
  return link;
};

export const mark = (verdict) => {
  const made = make("b", known(verdict, Object.keys(MARKS)), MARKS[verdict] ?? "?");
  made.title = verdict;
  made.setAttribute("aria-label", verdict);
  return made;
};
export const place = (row) => [PHASES[row.phase] ?? row.phase, row.phase === "ppo" ? `step ${row.step}` : row.split, row.problem_id].join(" · ");

export const markChosen = (id) => {
  for (const link of $("rows").querySelectorAll(".row")) link.setAttribute("aria-current", String(link.dataset.id === id));
};

/** A text on one line, its line ends shown. */
export const oneLine = (text) => text.replaceAll("\n", " ⏎ ");

let changed = () => {};
/** Begin: `onChange` is called when other completions are asked for. */
export const start = (onChange) => {
  changed = () => { state.page = 1; onChange(); };
  let wait = 0;
  for (const name of FIELDS) $(name).addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(() => { state.fields[name] = $(name).value.trim(); changed(); }, 250);
  });
  $("filter-form").addEventListener("submit", (event) => event.preventDefault());
  $("sort").addEventListener("change", () => { state.sort = $("sort").value; changed(); });
  $("reset").addEventListener("click", () => { readAddress(new URLSearchParams()); changed(); });
  $("fresh").addEventListener("click", () => { state.page = 1; onChange(); });
  const turn = (by) => { state.page += by; onChange(); $("list").scrollTop = 0; };
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
};

/** Show the completions of a step, or of a problem, and nothing else. */
export const only = (facets, fields) => {
  readAddress(new URLSearchParams([...Object.entries(facets), ...Object.entries(fields)]));
  changed();
};
