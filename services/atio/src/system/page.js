import { byId, element } from "./dom.js";

function card(label, value) {
  const made = element("div", "", "card");
  made.append(element("b", String(value)), element("span", label));
  return made;
}

function show(status) {
  const stages = status.stages;
  const sum = (service, field) => stages.filter((s) => s.service === service).reduce((n, s) => n + s[field], 0);
  const waiting = stages.find((s) => s.state !== "running");
  byId("sub").textContent = `version ${status.version} · Kafka ${status.kafka} · ` +
    (waiting ? `${waiting.name} is ${waiting.state}${waiting.why ? `: ${waiting.why}` : ""}` : "every stage runs");
  byId("cards").replaceChildren(
    card("raw events in", sum("normalization", "read")),
    card("enriched", sum("enrichment", "emitted")),
    card("routed", stages.filter((s) => s.name.startsWith("routing") && !s.name.includes(".")).reduce((n, s) => n + s.emitted, 0)),
    card("delivered", sum("delivery", "emitted")),
    card("dead letters", stages.reduce((n, s) => n + s.dead_lettered + s.parts, 0)),
  );
  byId("stages").replaceChildren(...stages.map((s) => {
    const row = document.createElement("tr");
    row.append(element("td", s.name), element("td", s.service), element("td", s.why ? `${s.state}: ${s.why}` : s.state, s.state));
    for (const field of ["read", "emitted", "dropped", "dead_lettered"]) row.append(element("td", String(s[field]), "n"));
    row.append(element("td", s.balanced ? "balanced" : "NOT balanced", s.balanced ? "running" : "failed"));
    return row;
  }));
  const names = (list) => list.map((x) => (x.name ? `${x.name} (${x.type ?? x.transport})` : x)).join(", ") || "none";
  byId("declared").textContent = `Sources: ${names(status.sources)}. Workflows: ${names(status.workflows)}. Sinks: ${names(status.sinks)}.`;
  byId("try").textContent = [
    "# send an alert of yours",
    `curl -H "Authorization: Bearer $(cat ${status.data}/admin.key)" \\`,
    "     -H 'Content-Type: application/json' --data-binary @eve.json \\",
    `     ${location.origin}/v1/sources/suricata/events`,
    "# see what became of it",
    `atio tap enriched --from beginning --until end --data ${status.data}`,
    `atio lag --data ${status.data}`,
  ].join("\n");
}

async function refresh() {
  try {
    const answer = await fetch("status.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    byId("sub").textContent = `no answer: ${error.message}`;
  }
  setTimeout(refresh, 2000);
}
refresh();
