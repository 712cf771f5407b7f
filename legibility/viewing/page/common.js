// What the page's parts share. Text reaches the page through textContent only, here and everywhere.
export const $ = (id) => document.getElementById(id);

/** Control and direction characters made visible: a name from a file must not turn the line around it. */
const visible = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (c) => (c === "\n" || c === "\t" ? c : "\uFFFD"));

/** An element with a class, text and children. */
export const make = (tag, className = "", content = "", ...children) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content !== "") made.textContent = visible(String(content));
  made.append(...children);
  return made;
};

/** The answer to a question of the server; throws its sentence where there is none. `signal` gives it up. */
export const ask = async (path, parameters = [], signal = undefined) => {
  const reply = await fetch(`api/${path}?${new URLSearchParams(parameters)}`, { signal });
  const content = await reply.json();
  if (!reply.ok) throw new Error(content.error);
  return content;
};

export const count = (number) => number.toLocaleString("en");
export const decimal = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(100 * value)} %`);

export const PHASES = { ppo: "training", base: "base text", collection: "collection", halfway: "halfway", attack: "attack", pool: "best-of-n pool" };
export const ARMS = { init: "start", correctness: "correctness-only", "correctness-short": "length-penalised", "correctness-halfway": "halfway" };
export const MARKS = { correct: "✓", incorrect: "✗", invalid: "∅" };

/** What went wrong, for people. */
export const sentence = (error) => (error instanceof TypeError ? "No connection to legibility view. Is it still running?" : error.message);

export const trouble = (error) => {
  if (error?.name === "AbortError") return;
  $("trouble").textContent = error ? sentence(error) : "";
  $("trouble").hidden = !error;
};

/** Names that would do harm as an element's class are left out. */
export const known = (name, names) => (names.includes(name) ? name : "");
