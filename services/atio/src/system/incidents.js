import { byId, element } from "./dom.js";
const button = (text, action) => {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
};
const say = (text) => { byId("said").textContent = text; };

// Kept here and nowhere else.
let key = "";
let chosen = "";
let timer = 0;
// What is shown, as text: a part is drawn anew only when it changes, so that buttons stay under the pointer.
const drawn = new Map();
const draw = (id, data, nodes) => {
  const text = JSON.stringify(data);
  if (drawn.get(id) === text) return;
  drawn.set(id, text);
  byId(id).replaceChildren(...nodes());
};

async function call(path, body) {
  const asked = { headers: { authorization: `Bearer ${key}` }, cache: "no-store" };
  if (body) {
    asked.method = "POST";
    asked.headers["content-type"] = "application/json";
    asked.body = JSON.stringify(body);
  }
  const answer = await fetch(path, asked);
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(`${said.code ?? answer.status}: ${said.message ?? "no reason given"}`);
  return said;
}

const time = (text) => (text ? text.replace("T", " ").replace(/\.\d+Z$/, "Z") : "–");
const asked = (wait) => wait.asked ?? wait.role;
const stateOf = (i) => (i.closed_at ? "closed" : i.waits.length ? "waiting" : i.acked_at ? "acknowledged" : "open");
const waitsFor = (wait) =>
  `${asked(wait)} until ${time(wait.deadline)}${wait.level ? `, escalated ${wait.level} times` : ""}${wait.claimed_by ? `, ${wait.claimed_by} works on it` : ""}`;

async function answer(what) {
  const comment = byId("comment").value.trim();
  const body = comment ? { ...what, comment } : what;
  try {
    await call(`v1/incidents/${encodeURIComponent(chosen)}/acks`, body);
    byId("comment").value = "";
    say(`${body.action}: accepted, the incident shows it in a moment`);
  } catch (error) {
    say(`${body.action}: refused, ${error.message}`);
  }
  refresh();
}

function row(i) {
  const made = document.createElement("tr");
  const pick = document.createElement("td");
  pick.append(button(i.incident_id.slice(0, 8), () => { chosen = i.incident_id; refresh(); }));
  made.append(pick, element("td", stateOf(i)), element("td", i.kind), element("td", i.importance === null ? "–" : i.importance.toFixed(0), "n"));
  for (const text of [i.severity, i.events, i.asset, i.assignee]) made.append(element("td", String(text ?? "–"), text === i.events ? "n" : ""));
  made.append(element("td", i.waits.map(waitsFor).join("; ")));
  return made;
}

function wait(w) {
  const made = element("li", `${w.workflow}.${w.branch} waits for ${waitsFor(w)}. `);
  if (w.approvers) {
    const yes = w.approvals.map((a) => (a.choice ? `${a.by} for ${a.choice}` : a.by)).join(", ") || "nobody";
    made.append(element("span", `${w.approvers} must say yes, so far ${yes}. `));
  }
  const to = (more) => () => answer({ wait_id: w.wait_id, ...more });
  if (w.choices.length) for (const choice of w.choices) made.append(button(choice, to({ action: "acknowledge", choice })));
  else made.append(button(w.approvers ? "Approve" : "Acknowledge", to({ action: "acknowledge" })));
  made.append(button("Reject", to({ action: "reject" })));
  made.append(w.claimed_by ? button("Release", to({ action: "release" })) : button("Claim", to({ action: "claim" })));
  return made;
}

function showOne(i) {
  byId("one").hidden = false;
  byId("id").textContent = i.incident_id;
  const facts = {
    state: stateOf(i), kind: i.kind, asset: i.asset, rule: i.rule_id, severity: i.severity, assignee: i.assignee,
    detected: time(i.detected_at), notified: time(i.notified_at),
    acknowledged: i.acked_at ? `${time(i.acked_at)} by ${i.acked_by ?? i.acked_as}` : null,
    escalated: i.escalations ? `${i.escalations} times, first ${time(i.escalated_at)}` : null,
    closed: i.closed_at ? `${time(i.closed_at)} as ${i.verdict}` : null,
  };
  draw("facts", facts, () => Object.entries(facts).flatMap(([name, value]) => [element("dt", name), element("dd", String(value ?? "–"))]));
  draw("waits", i.waits, () => (i.waits.length ? i.waits.map(wait) : [element("li", "nothing waits for an answer")]));
  draw("told", [i.answers, i.comments], () => [
    ...i.answers.map((a) => element("li", `${time(a.at)} ${a.workflow}.${a.branch}: ${a.answer}${a.choice ? `, ${a.choice}` : ""}${a.by.length ? ` by ${a.by.join(", ")}` : ""}`)),
    ...i.comments.map((c) => element("li", `${time(c.at)} ${c.by}: ${c.text}`)),
  ]);
  for (const id of ["do-comment", "do-acknowledge", "do-update", "do-close"]) byId(id).disabled = Boolean(i.closed_at);
}

async function refresh() {
  clearTimeout(timer);
  if (!key) return;
  try {
    const state = byId("state").value;
    const { incidents } = await call(`v1/incidents?limit=200${state ? `&state=${state}` : ""}`);
    draw("incidents", incidents, () => incidents.map(row));
    if (byId("said").dataset.fault) say(`${incidents.length} shown`);
    delete byId("said").dataset.fault;
    if (chosen) showOne(await call(`v1/incidents/${encodeURIComponent(chosen)}`));
  } catch (error) {
    byId("said").dataset.fault = "yes";
    say(error.message);
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, 2000);
}

byId("use").addEventListener("click", () => {
  key = byId("key").value.trim();
  byId("key").value = "";
  say(key ? "looking" : "enter a key first");
  byId("said").dataset.fault = "yes";
  refresh();
});
byId("state").addEventListener("change", () => { byId("said").dataset.fault = "yes"; refresh(); });
byId("do-acknowledge").addEventListener("click", () => answer({ action: "acknowledge" }));
byId("do-comment").addEventListener("click", () => answer({ action: "comment" }));
byId("do-close").addEventListener("click", () => answer({ action: "close", verdict: byId("verdict").value }));
byId("do-update").addEventListener("click", () => {
  const said = { action: "update" };
  if (byId("assignee").value.trim()) said.assignee = byId("assignee").value.trim();
  if (byId("severity").value) said.severity = byId("severity").value;
  answer(said);
});
