// The playground: one page, no framework, nothing from elsewhere.  Text of models and users only
// ever becomes textContent.
"use strict";

const $ = id => document.getElementById(id);
const element = (name, attributes = {}, ...inside) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    made.setAttribute(key, value);
  made.append(...inside);
  return made;
};
const headers = () => ({"Content-Type": "application/json",
                        ...($("key").value ? {Authorization: "Bearer " + $("key").value} : {})});

// ---- the verdict ----

function question() {
  const body = {prompt: $("prompt").value, mode: $("mode").value};
  if ($("response").value)
    body.response = $("response").value;
  return body;
}

function bar(name, value, kind) {
  const meter = element("meter", {min: 0, max: 1, value, "aria-label": name});
  return element("div", {class: "bar"}, element("span", kind ? {class: kind} : {}, name), meter,
                 element("output", {}, (100 * value).toFixed(1) + " %"));
}

function showVerdict(v) {
  const words = [element("span", {class: "badge " + v.severity}, v.severity)];
  if (v.categories.length)
    words.push(" ", v.categories.join(", "));
  if (v.refusal)
    words.push(" · refusal: " + v.refusal);
  if (v.source === "rule")
    words.push(" · by a rule");
  words.push(element("p", {class: "hint"}, `${v.role === "user" ? "prompt" : "response"}, ` +
                     `${v.tokens.input} tokens, ${v.tokens.cached} of them cached`));
  $("verdict").replaceChildren(...words);
  const bars = [];
  if (v.p) {
    for (const [name, p] of Object.entries(v.p.severity))
      bars.push(bar(name, p, name));
    for (const [name, p] of Object.entries(v.p.categories).sort((a, b) => b[1] - a[1]).slice(0, 5))
      bars.push(bar(name, p));
  }
  $("bars").replaceChildren(...bars);
}

async function fail(answer) {
  let why = `${answer.status} ${answer.statusText}`;
  try {
    why = (await answer.json()).error.message;
  } catch { /* not JSON: the status line has to do */ }
  $("error").textContent = why;
}

async function judge() {
  $("error").textContent = "";
  showCode();
  try {
    const answer = await fetch("v1/guard", {method: "POST", headers: headers(), body: JSON.stringify(question())});
    if (answer.ok)
      showVerdict(await answer.json());
    else
      await fail(answer);
  } catch (error) {
    $("error").textContent = "The server does not answer: " + error.message;
  }
}

// ---- token by token ----

let socket = null, judged = "", final = [], waiting = 0;

function closeSocket() {
  if (socket) {
    socket.onclose = socket.onmessage = socket.onerror = null;
    socket.close();
  }
  socket = null;
}

function showTokens(tail) {
  const spans = [...final, ...tail].map(token => element("span", {
    class: token.severity + (token.flagged ? " flagged" : "") + (token.final ? "" : " provisional"),
    title: `${token.severity}${token.category ? ": " + token.category : ""} ` +
           (100 * token.p.severity[token.severity]).toFixed(0) + " %"}, token.text));
  $("tokens").replaceChildren(...spans);
}

function onLine(line) {
  if (line.error) {
    $("stream-note").textContent = line.error.message;
    return;
  }
  if (line.summary) {
    const s = line.summary;
    $("stream-note").textContent = s.flagged
      ? `${s.role === "user" ? "prompt" : "response"} flagged: ${s.severity}, ${s.category}` +
        (s.range ? `, characters ${s.range[0]} to ${s.range[1]}` : "")
      : `${s.n_tokens} tokens, ${s.n_provisional} may still change`;
    showTokens(onLine.tail);
    onLine.tail = [];
    return;
  }
  if (line.role !== "assistant")
    return;
  if (line.final)
    final.push(line);
  else
    onLine.tail.push(line);
}
onLine.tail = [];

function openSocket(text) {
  closeSocket();
  judged = "";
  final = [];
  onLine.tail = [];
  const url = new URL("v1/moderations/ws", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const mine = socket = new WebSocket(url);
  mine.onopen = () => {
    mine.send(JSON.stringify({messages: [{role: "user", content: $("prompt").value}], mode: $("mode").value, role: "assistant"}));
    grow(text);
  };
  mine.onmessage = event => onLine(JSON.parse(event.data));
  mine.onclose = event => {
    if (socket === mine) {
      socket = null;
      if (event.code !== 1000)
        $("stream-note").textContent = event.reason || "Token by token needs a Stream model (serve --stream-model).";
    }
  };
}

// Sends what is new; another beginning needs another conversation.
function grow(text) {
  if (!text) {
    closeSocket();
    $("tokens").replaceChildren();
    return;
  }
  if (!socket || !text.startsWith(judged)) {
    openSocket(text);
    return;
  }
  if (socket.readyState !== WebSocket.OPEN || text === judged)
    return;
  socket.send(JSON.stringify({content: text.slice(judged.length)}));
  judged = text;
}

function typed() {
  clearTimeout(waiting);
  if ($("live").checked)
    waiting = setTimeout(() => grow($("response").value), 120);
}

// ---- the request, to copy ----

function quoted(text) {
  return "'" + text.replaceAll("'", "'\\''") + "'";
}

function showCode() {
  const body = question(), url = new URL("v1/guard", location.href).href;
  const python = $("tab-python").getAttribute("aria-selected") === "true";
  const key = $("key").value ? "$QGUARD_API_KEY" : "";
  $("code").textContent = python
    ? `import requests\n\nanswer = requests.post(${JSON.stringify(url)}, json=${JSON.stringify(body, null, 4)}` +
      (key ? `,\n                       headers={"Authorization": "Bearer …"}` : "") + `)\nprint(answer.json())`
    : `curl -s ${url} \\\n    -H 'Content-Type: application/json' \\\n` +
      (key ? `    -H "Authorization: Bearer ${key}" \\\n` : "") + `    -d ${quoted(JSON.stringify(body))}`;
}

function choose(tab) {
  for (const id of ["tab-curl", "tab-python"]) {
    $(id).setAttribute("aria-selected", String(id === tab));
    $(id).tabIndex = id === tab ? 0 : -1;
  }
  showCode();
}

// ---- load ----

const rates = [], queue = [];
let before = null;

function draw(id, values) {
  const top = Math.max(1, ...values);
  const points = values.map((v, i) => `${i * 120 / 59},${29 - 28 * v / top}`).join(" ");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points);
  $(id).replaceChildren(line);
}

async function poll() {
  if (document.hidden)
    return;
  try {
    const page = await (await fetch("metrics")).text();
    let total = 0, waitingNow = 0;
    for (const line of page.split("\n")) {
      if (line.startsWith("qwen3guard_verdicts_total"))
        total += Number(line.slice(line.lastIndexOf(" ")));
      if (line.startsWith("qwen3guard_jobs_waiting "))
        waitingNow = Number(line.slice(line.lastIndexOf(" ")));
    }
    const now = performance.now();
    if (before) {
      const rate = Math.max(0, total - before.total) * 1000 / (now - before.now);
      rates.push(rate);
      queue.push(waitingNow);
      if (rates.length > 60) {
        rates.shift();
        queue.shift();
      }
      $("rate").textContent = rate.toFixed(1);
      $("waiting").textContent = waitingNow;
      draw("rate-line", rates);
      draw("waiting-line", queue);
    }
    before = {total, now};
  } catch { /* shown by the next judgement */ }
}

async function name() {
  try {
    const answer = await fetch("v1/models", {headers: headers()});
    if (answer.ok)
      $("model").textContent = (await answer.json()).data.map(card => card.id).join(", ");
  } catch { /* the same */ }
}

$("form").addEventListener("submit", event => {
  event.preventDefault();
  judge();
  if ($("live").checked)
    grow($("response").value);
});
document.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
    $("form").requestSubmit();
});
for (const id of ["response", "prompt"])
  $(id).addEventListener("input", () => {
    showCode();
    if (id === "prompt")
      closeSocket();
    typed();
  });
$("mode").addEventListener("change", () => { closeSocket(); showCode(); typed(); });
$("key").addEventListener("change", name);
$("tab-curl").addEventListener("click", () => choose("tab-curl"));
$("tab-python").addEventListener("click", () => choose("tab-python"));
document.querySelector("[role=tablist]").addEventListener("keydown", event => {
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    const other = document.activeElement.id === "tab-curl" ? "tab-python" : "tab-curl";
    choose(other);
    $(other).focus();
  }
});
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("code").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});
showCode();
name();
poll();
setInterval(poll, 2000);
