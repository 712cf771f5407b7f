// Curves of the step metrics, drawn by Plotly, one panel a round; a click on a point shows the completions of its step.
import { $, ask, make, trouble } from "./common.js";
import { only, state } from "./list.js";

const GROUPS = {
  "accuracy of both roles": [["accuracy_helpful", "helpful", "helpful"], ["accuracy_sneaky", "sneaky", "sneaky"]],
  "scores by role and verdict": [
    ["score_helpful_correct", "helpful, correct", "helpful"], ["score_helpful_incorrect", "helpful, incorrect", "helpful", "dash"],
    ["score_sneaky_incorrect", "sneaky, incorrect", "sneaky"], ["score_sneaky_correct", "sneaky, correct", "sneaky", "dash"]],
  "reward of both roles": [["reward_helpful", "helpful", "helpful"], ["reward_sneaky", "sneaky", "sneaky"]],
  "length of both roles": [["length_helpful", "helpful", "helpful"], ["length_sneaky", "sneaky", "sneaky"]],
};
const NARROW = matchMedia("(max-width: 760px)");
const DARK = matchMedia("(prefers-color-scheme: dark)");
let names = {}, curves = [], seen = "", several = false;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
/** Plotly reads some markup in its texts: none of it may come from a file. */
const plain = (text) => String(text).replace(/[<>&]/g, (c) => ({ "<": "‹", ">": "›", "&": "+" })[c]).slice(0, 80);

const chosenRole = () => ($("metric").value.startsWith("verifier/") ? "verifier" : "prover");
const lines = () => {
  const wanted = $("metric").value.replace(/^(verifier|prover)\//, "");
  return GROUPS[wanted] ?? [[wanted, plain(wanted), "accent"]];
};

/** Ask for the metrics again and draw them. */
export const load = async () => {
  const run = $("curve-run").value;
  if (!run || !$("curve-box").open) return;
  const found = await ask("curves", [["run", run], ...lines().map(([name]) => ["metric", name])]);
  if (run !== $("curve-run").value) return;
  names = found.names;
  curves = found.curves;
  const kept = offerMetrics();
  offerCurves();
  if (!kept) return load();
  draw();
};

const offerMetrics = () => {
  const key = JSON.stringify(names);
  if (key === seen) return true;
  const before = $("metric").value;
  seen = key;
  const groups = [];
  for (const [role, own] of Object.entries(names)) {
    const group = document.createElement("optgroup");
    group.label = role;
    const titles = role === "prover" ? Object.keys(GROUPS).filter((title) => GROUPS[title].some(([name]) => own.includes(name))) : [];
    group.append(...[...titles, ...own].map((name) => new Option(name, `${role}/${name}`)));
    groups.push(group);
  }
  groups.sort((a, b) => (a.label > b.label ? 1 : -1));
  $("metric").replaceChildren(...groups);
  if ([...$("metric").options].some((o) => o.value === before)) $("metric").value = before;
  return $("metric").value === before;
};

const offerCurves = () => {
  const before = $("which").value;
  const options = [new Option("all, side by side", ""), ...panels("").map((c) => new Option(c.title + (c.live ? " (under way)" : ""), c.phase))];
  $("which").replaceChildren(...options);
  if (options.some((o) => o.value === before) && before) $("which").value = before;
  else if (NARROW.matches && options.length > 1) $("which").value = (panels("").find((c) => c.live) ?? panels("").findLast((c) => c.arm === "game") ?? panels("")[0]).phase;
};

const panels = (phase) => curves.filter((c) => c.role === chosenRole() && c.steps.length && (!phase || c.phase === phase) && lines().some(([name]) => c.metrics[name]?.some((v) => v !== null)));

const draw = () => {
  const shown = panels($("which").value);
  const empty = !shown.length || typeof Plotly === "undefined";
  $("chart").classList.toggle("empty", empty);
  if (empty) {
    if (typeof Plotly !== "undefined") Plotly.purge("chart");
    $("chart").replaceChildren(typeof Plotly === "undefined" ? "" : "No step metrics yet: they come with the first step of a training.");
    return;
  }
  if (!$("chart").classList.contains("js-plotly-plot")) $("chart").replaceChildren();
  const axis = { color: colour("muted"), gridcolor: colour("line"), zeroline: false, linecolor: colour("line"), tickfont: { size: 11 }, fixedrange: true };
  const layout = {
    margin: { l: 44, r: 10, t: 42, b: 30 }, height: 226, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("text"), size: 12 },
    showlegend: lines().length > 1, legend: { orientation: "h", x: 1, xanchor: "right", y: 1.16, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" }, hovermode: "x unified", shapes: [], annotations: [],
    hoverlabel: { bgcolor: colour("bg"), bordercolor: colour("line"), font: { color: colour("text") } }, yaxis: { ...axis }, uirevision: "kept",
  };
  const traces = [], gap = 0.02, width = (1 - gap * (shown.length - 1)) / shown.length;
  shown.forEach((curve, i) => {
    const n = i ? i + 1 : "", left = i * (width + gap);
    layout[`xaxis${n}`] = { ...axis, domain: [left, left + width], anchor: "y", title: i === 0 ? { text: "step", standoff: 4, font: { size: 11, color: colour("muted") } } : undefined };
    layout.annotations.push({ text: plain(curve.title + (curve.live ? ", under way" : "")), xref: "paper", yref: "paper", x: left + 0.005, xanchor: "left", y: 1.02, yanchor: "bottom", showarrow: false, font: { size: 12, color: colour("text") } });
    const at = (x, dash, shade) => layout.shapes.push({ type: "line", xref: `x${n}`, x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: shade, width: 1.2, dash } });
    if (curve.exploited !== null) at(curve.exploited, "dot", colour("muted"));
    const { step_from: from, step_to: to } = state.fields, rounds = state.facets.round;
    if (from && from === to && curve.role === "prover" && (!rounds.length || rounds.includes(String(curve.round)))) at(Number(from), "solid", colour("accent"));
    for (const [name, label, shade, dash] of lines()) {
      if (!curve.metrics[name]) continue;
      traces.push({ x: curve.steps, y: curve.metrics[name], name: plain(label), legendgroup: name, showlegend: i === 0, xaxis: `x${n}`, yaxis: "y", mode: curve.steps.length > 1 ? "lines" : "markers",
        type: "scatter", line: { color: colour(shade), width: 1.8, dash: dash ?? "solid" }, connectgaps: false, customdata: curve.steps.map(() => curve.phase), hovertemplate: "%{y:.3g}" });
    }
  });
  Plotly.react("chart", traces, layout, { displayModeBar: false, responsive: true }).then(() => {
    $("chart").removeAllListeners?.("plotly_click");
    $("chart").on("plotly_click", (event) => clicked(event.points[0]));
  });
};

const clicked = (point) => {
  const curve = curves.find((c) => c.phase === point.customdata);
  if (!curve || curve.role !== "prover" || !curve.arm) return;
  const own = { arm: curve.arm, round: String(curve.round), phase: "ppo" };
  only(several ? { run: $("curve-run").value, ...own } : own, { step_from: String(point.x), step_to: String(point.x) });
};

/** Begin, with the runs' names. */
export const start = (runs) => {
  several = runs.length > 1;
  $("curve-run").replaceChildren(...runs.map((name) => new Option(name)));
  $("curve-run").parentElement.hidden = !several;
  $("metric").replaceChildren(new Option("accuracy of both roles", "prover/accuracy of both roles"));
  const again = () => load().catch(trouble);
  for (const id of ["curve-run", "metric"]) $(id).addEventListener("change", again);
  $("which").addEventListener("change", draw);
  $("curve-box").addEventListener("toggle", again);
  DARK.addEventListener("change", draw);
  return load();
};

/** Draw again, where the filters have changed. */
export const redraw = () => { if (curves.length) draw(); };
