// The page: the address, the parts, the keys, and what has changed in the runs since.
import { $, ask, make, trouble } from "./common.js";
import * as curves from "./curves.js";
import * as item from "./item.js";
import * as list from "./list.js";

const EVERY = 2000;
const NARROW = matchMedia("(max-width: 760px)");
let chosen = null, listAt = 0;

// --- the address ----------------------------------------------------------------------------------
const load = async () => {
  try { await list.load(); list.markChosen(chosen); trouble(null); } catch (error) { trouble(error); }
};
const changed = () => { history.replaceState(null, "", list.address(chosen)); curves.redraw(); load(); };

const choose = async (id, { push = true } = {}) => {
  const before = chosen;
  if (before === null) listAt = scrollY;
  chosen = id;
  if (push) history[before && id ? "replaceState" : "pushState"](null, "", list.address(id));
  list.markChosen(id);
  if (id === null) {
    item.close();
    document.title = "legibility view";
    if (NARROW.matches) { scrollTo(0, listAt); [...$("rows").querySelectorAll(".row")].find((row) => row.dataset.id === before)?.focus({ preventScroll: true }); }
    return;
  }
  try {
    await item.open(id, choose, problem);
    if (NARROW.matches) { scrollTo(0, 0); $("item").focus({ preventScroll: true }); }
    trouble(null);
  } catch (error) { if (error.name === "AbortError") return; item.absent(error, choose); trouble(null); }
};
const problem = (brief) => { list.only({ run: brief.run }, { problem: brief.problem_id }); };

const arrive = () => {
  const query = new URLSearchParams(location.search);
  list.readAddress(query);
  const id = query.get("item");
  load();
  if (id !== chosen) choose(id, { push: false });
};

// --- what is under way ----------------------------------------------------------------------------
const ago = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`);
const showRun = (run) => {
  const line = make("li", "", "", make("b", "", run.name), " ");
  if (run.quick) line.append(make("span", "quick", "quick look, its numbers measure nothing ·"), " ");
  if (run.playing) {
    const { phase, steps, most, seconds } = run.playing;
    const step = steps ? `, step ${steps}${most ? ` of at most ${most}` : ""}` : "";
    line.append(make("span", seconds < 120 ? "live" : "silent muted", `${phase}${step}${seconds < 120 ? "" : `, silent for ${ago(seconds)}`}`));
  } else line.append(make("span", "muted", run.finished ? "finished" : "between phases or stopped"));
  return line;
};

let last = "";
const look = async () => {
  const found = await ask("state");
  const key = JSON.stringify([found.version, found.runs.map((run) => run.playing && [run.playing.phase, run.playing.steps])]);
  $("runs").replaceChildren(...found.runs.map(showRun));
  $("notes").textContent = [...found.notes, ...(found.reading ? ["reading the runs' files…"] : [])].join(" · ");
  if (key !== last && last) {
    curves.load().catch(trouble);
    const following = list.state.sort === "newest" && list.state.page === 1 && !chosen && $("list").scrollTop < 40;
    if (found.version !== list.version) {
      if (following || found.reading || !list.rows.length) await load(); else $("fresh").hidden = false;
    }
  }
  last = key;
  return found;
};
const follow = async () => {
  if (!document.hidden) try { await look(); if ($("trouble").dataset.lost) { trouble(null); delete $("trouble").dataset.lost; } } catch (error) { trouble(error); $("trouble").dataset.lost = "1"; }
  setTimeout(follow, EVERY);
};

// --- keys -----------------------------------------------------------------------------------------
const step = async (by) => {
  const at = list.rows.findIndex((row) => row.id === chosen);
  const next = at < 0 ? 0 : at + by;
  if (next < 0 || next >= list.rows.length) return;
  const link = $("rows").querySelectorAll(".row")[next];
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest" });
  await choose(list.rows[next].id);
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || $("help").open) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape") { event.preventDefault(); if (typing) event.target.blur(); else if (chosen) choose(null); return; }
  if (typing) return;
  const act = { j: () => step(1), k: () => step(-1), "/": () => $("text").focus(), "?": () => $("help").showModal(),
    "[": () => $("previous").click(), "]": () => $("next").click() }[event.key];
  if (act) { event.preventDefault(); act(); } else if (/^[1-9]$/.test(event.key)) item.readNumber(Number(event.key));
});
$("help-button").addEventListener("click", () => $("help").showModal());
$("rows").addEventListener("click", (event) => {
  const link = event.target.closest(".row");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose(link.dataset.id);
});
addEventListener("popstate", arrive);

// --- arrival --------------------------------------------------------------------------------------
if (matchMedia("(max-width: 1180px)").matches) { $("filter-box").open = false; }
list.start(changed);
arrive();
look().then((found) => curves.start(found.runs.map((run) => run.name))).catch(trouble);
setTimeout(follow, EVERY);
