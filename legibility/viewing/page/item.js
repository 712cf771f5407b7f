// One completion: question, marked solution, what every judge makes of it, and its neighbours.
import { $, PHASES, ask, count, decimal, known, make, percent, sentence, trouble } from "./common.js";
import { address, mark, oneLine, place } from "./list.js";

let shown = null;
let pending = null;

export const close = () => {
  shown = null;
  pending?.abort();
  $("chosen").hidden = true;
  $("nothing").hidden = false;
  document.body.classList.remove("reading");
};

const closeButton = (onOpen) => {
  const made = make("button", "back", "Close");
  made.title = "Esc";
  made.type = "button";
  made.addEventListener("click", () => onOpen(null));
  return made;
};

/** Say why a completion cannot be shown: a link to what has gone, or that was mistyped. */
export const absent = (error, onOpen) => {
  shown = null;
  $("chosen").replaceChildren(make("div", "title", "", make("h2", "", "Not shown"), closeButton(onOpen)), make("p", "absent", sentence(error)));
  $("nothing").hidden = true;
  $("chosen").hidden = false;
  document.body.classList.add("reading");
};

export const open = async (id, onOpen, onProblem) => {
  pending?.abort();
  pending = new AbortController();
  const { signal } = pending;
  const found = await ask("item", [["id", id]], signal);
  shown = { id, found, signal, judge: null };
  const { brief } = found;

  const copy = make("button", "", "Copy link");
  copy.type = "button";
  copy.addEventListener("click", async () => {
    const link = new URL(`?${new URLSearchParams([["item", id]])}`, location.href).href;
    try { await navigator.clipboard.writeText(link); copy.textContent = "Copied"; } catch { prompt("The link of this completion", link); }
  });
  const title = make("div", "title", "", make("h2", "", "", mark(brief.verdict), ` ${brief.verdict} · `, make("span", known(brief.role, ["helpful", "sneaky", "base"]), brief.writer)), copy, closeButton(onOpen));

  const facts = make("ul", "facts");
  for (const [name, value] of [
    ["run", brief.run], ["drawn for", PHASES[brief.phase] ?? brief.phase], ["split", brief.split], ["step", brief.step], ["sample", brief.sample],
    ["score", decimal(brief.score, 3)], ["higher than", found.below === null ? null : `${percent(found.below)} of its phase`],
    ["fooled", brief.fooled === null ? null : percent(brief.fooled)], ["disagreement", brief.disagreement === null ? null : percent(brief.disagreement)],
    ["reward", brief.reward === null ? null : decimal(brief.reward, 3)], ["tokens", `${brief.completion_tokens}${found.truncated ? ", cut off" : ""}`],
  ]) if (value !== null) facts.append(make("li", "", `${name} `, make("b", "", String(value))));

  const problem = make("button", "", "All of this problem");
  problem.type = "button";
  problem.addEventListener("click", () => onProblem(brief));
  const reference = make("details", "group", "", make("summary", "muted", "reference solution"), make("div", "prose", found.reference));
  const solution = make("ol", "solution");
  solution.id = "solution";
  solution.tabIndex = 0;
  solution.setAttribute("aria-label", "Solution");
  const doubt = make("p", "doubt-line");
  doubt.id = "doubt";
  doubt.setAttribute("role", "status");

  $("chosen").replaceChildren(
    title, facts,
    make("h2", "", `Problem ${brief.problem_id}`), make("div", "prose", found.question),
    make("p", "", "gold answer ", make("b", "", found.answer)), ...(found.reference ? [reference] : []),
    make("h2", "", "Solution"), solution, ...(found.note ? [make("p", "muted", found.note)] : []), doubt,
    make("h2", "", "What each judge makes of it"), judgesTable(found),
    make("h2", "", `Other samples of the same problem and role (${found.siblings.length})`), neighbours(found.siblings, onOpen),
    make("h2", "", "The same problem elsewhere"), elsewhere(found.elsewhere, onOpen), problem,
  );
  showLines(found.lines);
  $("nothing").hidden = true;
  $("chosen").hidden = false;
  $("item").scrollTop = 0;
  document.body.classList.add("reading");
  document.title = `${brief.writer}, ${brief.problem_id} · legibility view`;
  const first = found.judges.find((judge) => judge.own && judge.light) ?? found.judges.find((judge) => judge.judge !== "held_out_judge" && judge.light);
  if (first && found.explains) read(first.judge);
  for (const judge of found.judges) if (judge.light && judge.score === null && judge !== first) fill(judge.judge);
};

const showLines = (lines) => {
  $("solution").replaceChildren(...lines.map((line) => {
    const tick = make("span", `tick ${line.mark === "✓" ? "good" : "bad"}`, line.mark);
    if (line.mark) tick.setAttribute("aria-label", line.mark === "✓" ? "right step" : "wrong step");
    const pieces = line.pieces.map((piece) => {
      const made = make("span", known(piece.status, ["valid", "slip", "carried", "foreign"]), piece.text);
      if (piece.doubt > 0) { made.classList.add("doubted"); made.style.setProperty("--d", piece.doubt.toFixed(2)); }
      return made;
    });
    return make("li", "", "", tick, ...pieces, ...(line.reason ? [make("span", "why", line.reason)] : []));
  }));
};

// --- judges ---------------------------------------------------------------------------------------
const judgesTable = (found) => {
  if (!found.judges.length) return make("p", "muted", "No verifier is trained yet.");
  const body = make("tbody");
  for (const judge of found.judges) {
    const button = make("button", "", "doubt");
    button.type = "button";
    button.disabled = !judge.available;
    button.title = judge.available ? "Have it read this text now" : "Its weights are not in the run folder";
    button.addEventListener("click", () => read(judge.judge));
    const name = make("td", "", judge.label, ...(judge.own ? [make("span", "hint", " its verifier")] : []), ...(judge.learnt ? [make("span", "hint", " trained on this problem")] : []));
    const line = make("tr", "", "", name, make("td", "number score"), make("td", "rank-cell"), make("td", "", "", button));
    line.dataset.judge = judge.judge;
    body.append(line);
    showScore(line, judge, judge.available ? "" : "weights gone");
  }
  return make("table", "", "", make("thead", "", "", make("tr", "", "", make("th", "", "judge"), make("th", "number", "score"), make("th", "", "higher than"), make("th"))), body);
};

const showScore = (line, { score, below }, why = "") => {
  line.querySelector(".score").textContent = score === null ? why || "–" : decimal(score);
  const cell = line.querySelector(".rank-cell");
  if (below === null || below === undefined) { cell.textContent = ""; return; }
  const bar = make("i");
  bar.style.setProperty("--d", below.toFixed(3));
  cell.replaceChildren(make("span", "rank", "", bar), `${percent(below)} of what it scored`);
};

const lineOf = (judge) => [...$("chosen").querySelectorAll("tr[data-judge]")].find((line) => line.dataset.judge === judge);

const reading = async (judge) => {
  const { id, signal } = shown;
  const found = await ask("reading", [["id", id], ["judge", judge]], signal);
  if (shown?.id !== id) return null;
  const line = lineOf(judge);
  if (line) showScore(line, found, found.note ? "no" : "");
  return found;
};

/** A judge's score, where none is stored. */
const fill = async (judge) => {
  try { await reading(judge); } catch (error) {
    if (error.name === "AbortError") return;
    const line = lineOf(judge);
    if (line) { showScore(line, { score: null }, "no"); line.title = sentence(error); }
  }
};

/** A judge's score and, on the solution, its doubt. */
const read = async (judge) => {
  shown.judge = judge;
  $("doubt").textContent = "reading…";
  try {
    const found = await reading(judge);
    if (!found || shown.judge !== judge) return;
    for (const line of $("chosen").querySelectorAll("tr[data-judge]")) line.classList.toggle("shown", line.dataset.judge === judge);
    showLines(found.lines);
    $("doubt").textContent = found.doubt || `${found.label}: ${found.note || "no token lowers its score"}`;
  } catch (error) { if (error.name !== "AbortError" && shown?.judge === judge) $("doubt").textContent = sentence(error); }
};

export const readNumber = (number) => {
  const judge = shown?.found.judges[number - 1];
  if (judge?.available) read(judge.judge);
};

// --- neighbours -----------------------------------------------------------------------------------
const neighbours = (rows, onOpen) => {
  if (!rows.length) return make("p", "muted", "None.");
  return make("ol", "others", "", ...rows.map((row) => {
    const link = make("a", "", "", mark(row.verdict), make("span", "text", oneLine(row.text)), make("span", "figure", row.score === null ? "" : decimal(row.score)));
    link.href = address(row.id);
    link.title = place(row);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      onOpen(row.id);
    });
    return make("li", "", "", link);
  }));
};

const elsewhere = (groups, onOpen) => {
  if (!groups.length) return make("p", "muted", "Nowhere.");
  return make("div", "", "", ...groups.map((group) => {
    const head = make("span", "others-head", "", make("span", known(group.rows[0].role, ["helpful", "sneaky", "base"]), group.writer), ` · ${PHASES[group.phase] ?? group.phase} `);
    const summary = make("summary", "", "", head, make("span", "muted number", `${count(group.correct)} of ${count(group.total)} correct `), make("span", "text first", oneLine(group.rows[0].text)));
    const rest = group.total - group.rows.length;
    return make("details", "group", "", summary, neighbours(group.rows, onOpen), ...(rest ? [make("p", "muted", `and ${count(rest)} more`)] : []));
  }));
};
