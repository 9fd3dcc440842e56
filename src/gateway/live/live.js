// The live view: one page, no framework, nothing from elsewhere.  Text of models and users only ever
// becomes textContent.
"use strict";

const MOST_REPLIES = 40, MOST_CHARACTERS = 65536;
const $ = id => document.getElementById(id);
const element = (name, className, ...inside) => {
  const made = document.createElement(name);
  if (className)
    made.className = className;
  made.append(...inside);
  return made;
};
const replies = new Map();

// ---- one reply ----

function addReply(e) {
  const card = element("article"), title = element("div", "title"), state = element("span", "badge", "running");
  const prompt = element("span"), held = element("span"), hits = element("ul", "hits");
  const sent = element("div"), released = element("div");
  title.append(element("h2", "", e.model || "(no model)"), state, element("span", "", e.protocol), prompt, held,
               element("span", "", e.shadow ? "shadow: nothing is changed" : `hold-back ${e.hold_back_tokens}`),
               element("span", "", e.id), element("span", "", e.key ? "key " + e.key : ""));
  card.append(title, element("div", "columns",
    element("section", "sent", element("h3", "", "sent by the upstream"), sent),
    element("section", "released", element("h3", "", "released to the reader"), released)), hits);
  card.dataset.n = e.n;
  $("none").hidden = true;
  $("replies").prepend(card);
  replies.set(e.n, {card, state, prompt, held, hits, sent, released, lanes: new Map(), found: new Map(), over: null, due: false});
  for (const [n, old] of [...replies].slice(0, Math.max(0, replies.size - MOST_REPLIES))) {
    old.card.remove();
    replies.delete(n);
  }
}

function laneOf(r, number) {
  if (!r.lanes.has(number))
    r.lanes.set(number, {name: "", sent: [], released: [], left: 0, more: 0});
  return r.lanes.get(number);
}

function addText(list, lane, text, hidden) {
  for (const c of text)
    if (list.length < MOST_CHARACTERS)
      list.push(c);
    else
      lane.more++;
  lane.more += hidden;
}

function addEvent(r, e) {
  for (const l of e.lanes || [])
    laneOf(r, l.lane).name = l.field + (l.choice > 0 ? ` of choice ${l.choice}` : "") + (l.name && l.name !== l.field ? ` (${l.name})` : "");
  for (const [number, text, hidden] of e.sent || [])
    addText(laneOf(r, number).sent, laneOf(r, number), text, hidden);
  for (const [number, text, hidden] of e.released || [])
    addText(laneOf(r, number).released, laneOf(r, number), text, hidden);
  for (const h of e.hits || [])
    r.found.set(h.i, h);
  r.held.textContent = `holds ${e.held} tokens, ${e.held_bytes} bytes`;
  paintSoon(r);
}

// ---- painting ----

function paintSoon(r) {
  if (r.due)
    return;
  r.due = true;
  requestAnimationFrame(() => {
    r.due = false;
    paint(r);
  });
}

// The pieces of a lane: where anything about it changes.
function pieces(r, number, lane) {
  const hits = [...r.found.values()].filter(h => h.lane === number);
  const left = lane.released.length, at = new Set([0, left, lane.sent.length]);
  for (const h of hits) {
    at.add(Math.min(h.begin, lane.sent.length));
    at.add(Math.min(h.end, lane.sent.length));
  }
  const places = [...at].sort((a, b) => a - b), made = [];
  for (let i = 0; i + 1 < places.length; i++) {
    const [begin, end] = [places[i], places[i + 1]];
    const hit = hits.find(h => h.begin <= begin && end <= h.end);
    made.push({text: lane.sent.slice(begin, end).join(""), hit, left: end <= left});
  }
  return made;
}

function paintSent(r, number, lane) {
  const text = element("p", "text");
  for (const p of pieces(r, number, lane)) {
    const way = p.left ? "" : r.over ? "gone" : "held";
    const made = p.hit ? element("mark", `${p.hit.severity} ${way}`, p.text) : element("span", way, p.text);
    if (p.hit)
      made.title = `${p.hit.severity}, ${p.hit.category || "no category"}, ${(100 * p.hit.p).toFixed(1)} %, characters ${p.hit.begin} to ${p.hit.end}: ${p.hit.action}`;
    text.append(made);
  }
  return text;
}

function paintReleased(r, number, lane) {
  const text = element("p", "text", lane.released.join(""));
  const cut = [...r.found.values()].some(h => h.lane === number && h.action === "block");
  if (r.over && cut && lane.released.length < lane.sent.length)
    text.append(element("span", "cut", " ✂ cut"));
  return text;
}

function paint(r) {
  const sent = [], released = [];
  for (const [number, lane] of [...r.lanes].sort((a, b) => a[0] - b[0])) {
    const name = () => element("p", "lane", lane.name + (lane.more ? `, ${lane.more} more not shown` : ""));
    sent.push(name(), paintSent(r, number, lane));
    released.push(name(), paintReleased(r, number, lane));
  }
  r.sent.replaceChildren(...sent);
  r.released.replaceChildren(...released);
  r.hits.replaceChildren(...[...r.found.values()].map(h => element("li", "",
    element("span", h.severity, ` ${h.severity} `), ` ${h.category || "no category"} · ${(100 * h.p).toFixed(1)} % · characters ` +
    `${h.begin}–${h.end} of ${laneOf(r, h.lane).name} · ${h.action}${h.source === "rule" ? " · by a rule" : ""}`)));
}

// ---- events ----

const handlers = {
  hello: e => $("about").textContent = `version ${e.version}, judge ${e.judge}` + (e.prompts ? `, prompts ${e.prompts}` : ""),
  begin: addReply,
  lost: e => {
    for (const r of replies.values())
      if (!r.over)
        r.card.append(element("p", "hint lost", `This page was too slow: ${e.events} events were not shown.`));
  },
};
const onReply = {
  prompt: (r, e) => r.prompt.replaceChildren("prompt ", element("span", "badge " + e.severity, e.severity + (e.category ? ", " + e.category : ""))),
  text: addEvent,
  again: r => {
    r.lanes.clear();
    r.found.clear();
    r.card.append(element("p", "hint", "Withheld, and asked for again."));
    paintSoon(r);
  },
  end: (r, e) => {
    r.over = e;
    r.state.textContent = e.outcome;
    r.state.classList.add(e.outcome);
    r.card.classList.add("over");
    r.held.textContent = `${e.released_bytes} of ${e.text_bytes} bytes released` + (e.unjudged_bytes ? `, ${e.unjudged_bytes} unjudged` : "");
    paintSoon(r);
  },
};

function handle(name, data) {
  const e = JSON.parse(data);
  if (handlers[name])
    handlers[name](e);
  else if (onReply[name] && replies.has(e.n))
    onReply[name](replies.get(e.n), e);
}

function takeBlock(block) {
  let name = "", data = "";
  for (const line of block.split("\n"))
    if (line.startsWith("event: "))
      name = line.slice(7);
    else if (line.startsWith("data: "))
      data += line.slice(6);
  if (name)
    handle(name, data);
}

// ---- the connection ----

let watching = null;

async function watch() {
  const stop = new AbortController();
  if (watching)
    watching.abort();
  watching = stop;
  try {
    const answer = await fetch("v1/admin/live", {headers: {Authorization: "Bearer " + $("key").value}, signal: stop.signal, cache: "no-store"});
    if (!answer.ok)
      throw new Error(answer.status === 401 ? "the admin key is not right" : `${answer.status} ${answer.statusText}`);
    $("state").textContent = "watching";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "";;) {
      const {value, done} = await reader.read();
      if (done)
        break;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      blocks.forEach(takeBlock);
    }
    $("state").textContent = "the gateway has ended the view";
  } catch (error) {
    if (watching === stop)
      $("state").textContent = "not watching: " + error.message;
  }
}

$("form").addEventListener("submit", event => {
  event.preventDefault();
  watch();
});
$("clear").addEventListener("click", () => {
  for (const r of replies.values())
    r.card.remove();
  replies.clear();
  $("none").hidden = false;
});
