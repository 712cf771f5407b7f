"use strict";
// One rater's session. `backend` is the server (fetch) or this file itself (localStorage); everything
// else is the same. Model text reaches the page through textContent only.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const now = () => Date.now() / 1000;

  // --- storage that may be missing (private windows, some file:// pages) -------------------------
  const memory = {};
  const store = {
    get(key) { try { return JSON.parse(localStorage.getItem(key)); } catch { return memory[key] ?? null; } },
    set(key, value) { memory[key] = value; try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* kept in memory */ } },
  };

  // --- backends: start(consent) -> session, or {title, consent} that has yet to be agreed to; show() -> item or {finished}, answer(record) ----------------
  const post = async (path, body) => {
    const reply = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const content = await reply.json();
    if (reply.ok) return content;
    throw Object.assign(new Error(content.error), { final: reply.status < 500 });
  };
  const served = {
    async start(consent = null) {
      const query = new URLSearchParams(location.search);
      const visitor = {};
      for (const name of ["PROLIFIC_PID", "STUDY_ID", "SESSION_ID"]) if (query.get(name)) visitor[name] = query.get(name);
      const invite = query.get("invite");
      const who = invite || visitor.PROLIFIC_PID;
      const place = "legibility-token" + (who ? ":" + who : "");
      let start_id = store.get(place + ":start");  // kept before asking: a start whose reply is lost takes one slot
      if (!start_id) {
        start_id = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
        store.set(place + ":start", start_id);
      }
      const session = await post("api/start", { token: query.get("token") || store.get(place), invite, start_id, visitor, consent });
      if (session.token) store.set(place, this.token = session.token);
      return session;
    },
    show() { return post("api/show", { token: this.token }); },
    answer(record) { return post("api/answer", { token: this.token, ...record }); },
  };
  const disk = {
    async start(consent = null) {
      const slot = Number($("slot").value || new URLSearchParams(location.hash.slice(1)).get("slot"));
      if (!data.slots[slot - 1]) throw Object.assign(new Error(`Please enter a number from 1 to ${data.slots.length}.`), { final: true });
      this.key = `legibility:${data.protocol.study_id}:${slot}`;
      this.list = data.slots[slot - 1];
      this.state = store.get(this.key) || { study_id: data.protocol.study_id, slot, shown: {}, judgments: [] };
      const asked = data.protocol.consent;
      if (asked && !this.state.consent) {
        if (consent !== asked.version) return { title: data.protocol.title, consent: asked };
        this.state.consent = { ...asked, at: new Date().toISOString() };
        store.set(this.key, this.state);
      }
      const open = this.list[this.state.judgments.length] in this.state.shown;
      return { ...data.protocol, token: this.key, total: this.list.length, judged: this.state.judgments.length, open };
    },
    async show() {
      const done = this.state.judgments.length, id = this.list[done];
      if (!id) return { finished: true };
      const first = !(id in this.state.shown);
      if (first) { this.state.shown[id] = now(); store.set(this.key, this.state); }
      const doubts = data.assisted[this.state.slot - 1].includes(id) ? data.doubts[id] : null;
      return { item_id: id, ...data.items[id], doubts, number: done + 1, elapsed: first ? 0 : now() - this.state.shown[id] };
    },
    async answer(record) {
      if (this.state.judgments.some((j) => j.item_id === record.item_id)) return;
      const begun = this.state.shown[record.item_id];
      this.state.judgments.push({ ...record, started_at: new Date(1000 * begun).toISOString(), finished_at: new Date().toISOString() });
      store.set(this.key, this.state);
    },
  };
  const backend = data.mode === "disk" ? disk : served;

  // --- screens --------------------------------------------------------------------------------------
  const screens = ["consent", "declined", "welcome", "pause", "item", "done", "problem-box"];
  const screen = (name) => { for (const id of screens) $(id).hidden = id !== name; window.scrollTo(0, 0); };
  const fail = (error) => { $("problem-text").textContent = error.message; screen("problem-box"); };
  const visible = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (c) => (c === "\n" || c === "\t" ? c : "\uFFFD"));

  const pending = () => `legibility-pending:${backend.token || backend.key}`;

  const practising = () => `legibility-practice:${backend.token || backend.key}`;

  let session = null, current = null, timer = 0;
  let practice = { done: 0, said: null };  // practice items done; what was said of the last, until its answer was read
  const keepPractice = (done, said) => { practice = { done, said }; store.set(practising(), practice); };

  const paragraphs = (id, lines) => $(id).replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
  const instruct = (protocol) => {
    $("title").textContent = document.title = protocol.title;
    paragraphs("instructions", protocol.instructions);
    screen("welcome");
    $("start").focus();
  };
  const pause = (title, text, button, feedback = false) => {
    $("pause-title").textContent = title;
    $("pause-text").textContent = text;
    $("pause-text").classList.toggle("feedback", feedback);
    $("show").textContent = button;
    screen("pause");
    $("show").focus();
  };
  const restOrFinish = () => {
    if (session.judged >= session.total) return finish();
    const next = session.judged + 1;
    pause(`${next} of ${session.total}`, session.judged ? "Rest as long as you like. The clock starts when you go on." : "The study starts here. The clock starts when you go on.", "Show it");
  };
  const practised = () => session.judged || session.open || practice.done >= session.practice.length;
  const begin = () => {
    practice = store.get(practising()) || practice;
    if (!session.judged && !session.open && practice.said !== null) return feedback();
    if (practised()) return session.open ? advance() : restOrFinish();
    pause(`Practice ${practice.done + 1} of ${session.practice.length}`, "Practice does not count. The clock starts when you go on.", "Show it");
  };
  const advance = async () => {
    if (practised()) {
      const item = await patiently(() => backend.show());
      if (item.finished) { session.finished = item; return finish(); }
      return present({ ...item, title: `${item.number} of ${session.total}` });
    }
    const item = session.practice[practice.done];
    present({ ...item, practice: true, elapsed: 0, title: `Practice ${practice.done + 1} of ${session.practice.length}` });
  };
  const finish = async () => {
    session.finished ??= await patiently(() => backend.show());
    const code = session.finished.completion_code;
    $("done-text").textContent = backend === disk
      ? "You have judged everything. Please save your answers and send the file to the organisers."
      : "You have judged everything, and your answers are stored. You can close this page.";
    $("code").hidden = !code;
    $("code").querySelector("b").textContent = code || "";
    $("save").hidden = backend !== disk;
    screen("done");
    (backend === disk ? $("save") : $("done").querySelector("h1")).focus();
  };

  // --- one item -------------------------------------------------------------------------------------
  const shades = (item) => {  // how dark each character is (counted in code points), where doubts are shown
    if (!item.doubts) return null;
    const levels = new Uint8Array([...item.solution].length);
    for (const [start, end, level] of item.doubts) levels.fill(level, start, end);
    return levels;
  };
  const shaded = (chars, levels, at) => {  // a line as text and marks
    const parts = [];
    for (let i = 0, end = 0; i < chars.length; i = end) {
      while (end < chars.length && levels[at + end] === levels[at + i]) end += 1;
      const text = chars.slice(i, end).join(""), level = levels[at + i];
      parts.push(level ? Object.assign(document.createElement("mark"), { className: `doubt${level}`, textContent: text }) : text);
    }
    return parts;
  };
  const present = (item) => {
    current = { item, begun: performance.now() - 1000 * item.elapsed, said: null, line: null, sure: null };
    $("item-title").textContent = item.title;
    $("problem").textContent = visible(item.problem);
    const levels = shades(item);
    let at = 0;
    $("solution").replaceChildren(...visible(item.solution).split("\n").map((text) => {
      const line = document.createElement("span");
      line.className = "line";
      line.dir = "auto";
      if (levels) line.append(...shaded([...text], levels, at)); else line.textContent = text;
      at += [...text].length + 1;
      return line;
    }));
    $("shading").hidden = !levels;
    $("solution").classList.remove("marking");
    for (const id of ["more", "expired", "mark", "sure"]) $(id).hidden = true;
    for (const id of ["answers", "texts", "clock", "left"]) $(id).hidden = false;
    $("announce").textContent = $("trouble").textContent = "";
    $("next").disabled = $("undo").disabled = false;
    screen("item");
    $("solution").focus({ preventScroll: true });
    clearInterval(timer);
    const tick = () => {
      const rest = left();
      $("left").textContent = `${Math.ceil(rest)} s`;
      $("left").classList.toggle("low", rest <= 10);
      $("clock").value = rest / session.time_limit_seconds;
      if (rest <= 10 && rest > 0 && !$("announce").textContent) $("announce").textContent = "10 seconds left";
      if (rest <= 0) expire();
    };
    timer = setInterval(tick, 100);
    tick();
    const kept = store.get(pending());
    if (!item.practice && kept && kept.item_id === item.item_id) say(kept.answer, kept);
  };
  const expire = () => {
    clearInterval(timer);
    current.expired = true;
    $("texts").hidden = $("clock").hidden = true;
    $("left").textContent = "0 s";
    $("expired").hidden = false;
    $("announce").textContent = "Time is up. What is your best guess?";
    $("yes").focus();
  };
  const say = (answer, kept = null) => {
    if (!current || current.said !== null || $("item").hidden) return;
    clearInterval(timer);
    current.said = answer;
    current.seconds = kept ? kept.seconds : (performance.now() - current.begun) / 1000;
    current.expired = kept ? kept.timed_out : Boolean(current.expired);
    if (current.item.practice) {
      current = null;
      keepPractice(practice.done + 1, answer);
      return feedback();
    }
    store.set(pending(), { item_id: current.item.item_id, answer, seconds: current.seconds, timed_out: current.expired });
    if (current.expired) $("texts").hidden = true;
    const marks = session.ask_first_wrong_step && !answer && !$("texts").hidden;
    if (!session.ask_confidence && !marks) return submit();
    for (const id of ["answers", "expired", "clock", "left"]) $(id).hidden = true;
    $("chosen").textContent = `You said: ${answer ? "True" : "False"}.`;
    $("mark").hidden = !marks;
    $("solution").classList.toggle("marking", marks);
    $("sure").hidden = !session.ask_confidence;
    for (const box of $("scale").querySelectorAll("input")) box.checked = false;
    $("more").hidden = false;
    $("undo").hidden = !$("texts").hidden && left() <= 0;
    if (!$("texts").hidden) timer = setTimeout(() => { $("undo").hidden = true; }, 1000 * left());
    $("announce").textContent = $("chosen").textContent;
    $("next").focus({ preventScroll: true });
  };
  const feedback = () => {
    const item = session.practice[practice.done - 1], last = practice.done >= session.practice.length;
    pause(practice.said === item.answer ? "That is right" : `The solution is ${item.answer ? "right" : "wrong"}`, item.why, last ? "Go on to the study" : "Next practice item", true);
  };
  const left = () => Math.max(0, session.time_limit_seconds - (performance.now() - current.begun) / 1000);
  const unsay = () => {  // the clock has run on, and time that is over is not given back: no answer buys time to read
    if (!current || current.said === null || $("next").disabled || $("undo").hidden) return;
    store.set(pending(), null);
    present({ ...current.item, elapsed: (performance.now() - current.begun) / 1000 });
  };
  const markLine = (index) => {
    const lines = [...$("solution").children];
    if (!$("solution").classList.contains("marking") || !lines.length) return;
    current.line = index === null || index < 0 ? null : Math.min(index, lines.length - 1);
    lines.forEach((line, i) => line.classList.toggle("first-wrong", i === current.line));
    if (current.line !== null) {
      lines[current.line].scrollIntoView({ block: "nearest" });
      $("announce").textContent = `Line ${current.line + 1} marked`;
    }
  };
  const submit = async () => {
    if ($("next").disabled) return;
    $("next").disabled = $("undo").disabled = true;
    $("trouble").textContent = "";
    const { item, said, seconds, expired, sure, line } = current;
    await patiently(() => backend.answer({
      item_id: item.item_id, answer: said, seconds, timed_out: expired, confidence: sure, first_wrong_step: line === null ? null : line + 1,
    }));
    store.set(pending(), null);
    current = null;
    session.judged += 1;
    session.open = false;
    restOrFinish();
  };
  const patiently = async (action) => {  // until the server is back; what was answered is kept meanwhile
    for (;;) {
      try { return await action(); } catch (error) {
        if (error.final) { fail(error); throw error; }
        $("trouble").textContent = $("pause-text").textContent = "No connection. Your answers are kept; trying again…";
        await new Promise((wake) => setTimeout(wake, 1000));
      }
    }
  };

  // --- hands ----------------------------------------------------------------------------------------
  for (let i = 1; i <= 5; i += 1) {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "radio", name: "sure", value: i });
    box.addEventListener("change", () => { current.sure = i; });
    label.append(box, ` ${i}${{ 1: " guessing", 5: " certain" }[i] || ""}`);
    $("scale").append(label);
  }
  const ask = () => {
    $("consent-title").textContent = document.title = session.title;
    paragraphs("consent-text", session.consent.text);
    screen("consent");
    $("consent-title").focus();
  };
  const start = async (consent = null) => {
    try { if (backend === disk || !session?.token) session = await backend.start(consent); } catch (error) { return fail(error); }
    if (!session.token) return ask();
    if (backend === served && consent) return arrive();
    begin();
  };
  $("agree").addEventListener("click", () => start(session.consent.version));
  $("decline").addEventListener("click", () => { screen("declined"); $("declined").querySelector("h1").focus(); });
  $("back").addEventListener("click", ask);
  $("start").addEventListener("click", () => start());
  $("show").addEventListener("click", () => {
    if (practice.said === null) return advance();
    keepPractice(practice.done, null);  // its answer was read
    if (practised()) return restOrFinish();
    advance();
  });
  $("yes").addEventListener("click", () => say(true));
  $("no").addEventListener("click", () => say(false));
  $("next").addEventListener("click", submit);
  $("undo").addEventListener("click", unsay);
  $("solution").addEventListener("click", (event) => {
    const index = [...$("solution").children].indexOf(event.target.closest(".line"));
    if (current && index >= 0) markLine(index === current.line ? null : index);
  });
  $("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(disk.state, null, 1)], { type: "application/json" }));
    link.download = `answers-${disk.state.slot}.json`;
    link.click();
  });
  document.addEventListener("keydown", (event) => {
    if (!current || $("item").hidden || event.repeat && !event.key.startsWith("Arrow") || event.ctrlKey || event.altKey || event.metaKey) return;
    if (current.said === null) {
      const said = { t: true, f: false }[event.key.toLowerCase()];
      if (said !== undefined) { event.preventDefault(); say(said); }
      return;
    }
    if (event.key.toLowerCase() === "u") {
      event.preventDefault();
      unsay();
    } else if (/^[1-5]$/.test(event.key) && !$("sure").hidden) {
      current.sure = Number(event.key);
      $("scale").querySelectorAll("input")[current.sure - 1].checked = true;
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !$("mark").hidden && event.target.name !== "sure") {
      event.preventDefault();
      markLine(current.line === null ? (event.key === "ArrowDown" ? 0 : $("solution").children.length - 1) : current.line + (event.key === "ArrowDown" ? 1 : -1));
    }
  });

  // --- arrival --------------------------------------------------------------------------------------
  const arrive = () => {
    if (session.judged >= session.total) return finish();
    if (session.judged || session.open || store.get(practising())) return begin();
    instruct(session);
  };
  (async () => {
    if (backend === disk) {
      const slot = new URLSearchParams(location.hash.slice(1)).get("slot");
      $("which").hidden = false;
      $("slot").max = data.slots.length;
      if (slot) $("slot").value = slot;
      instruct(data.protocol);
      if (slot) $("start").focus(); else $("slot").focus();
      return;
    }
    try { session = await backend.start(); } catch (error) { return fail(error); }
    if (session.token) arrive(); else ask();
  })();
})();
