// The bench: what the linter says while one writes, and what becomes of what was sent.
"use strict";

(() => {
  const text = document.getElementById("text");
  const list = document.getElementById("findings");
  const ended = new Set(["DONE", "DENIED", "DECLINED", "EXPIRED", "FAILED", "IGNORED"]);

  function line(words, kind, children = []) {
    const item = document.createElement("li");
    if (kind) item.className = kind;
    item.append(...children, words);
    return item;
  }

  function show(findings) {
    list.textContent = "";
    if (!findings.length) list.append(line("Nothing to say against it.", "good"));
    for (const each of findings) {
      const go = Object.assign(document.createElement("button"), { type: "button", textContent: `line ${each.line}` });
      go.addEventListener("click", () => jump(each.line));
      const words = ` ${each.field ? `${each.field}: ` : ""}${each.reason}${each.code ? ` (answered with ${each.code})` : ""}. `;
      const mend = Object.assign(document.createElement("strong"), { textContent: each.mend });
      const item = line(words, each.code ? "bad" : "", [go]);
      item.append(mend);
      list.append(item);
    }
  }

  function jump(number) {
    const lines = text.value.split("\n");
    const from = lines.slice(0, number - 1).join("\n").length + (number > 1 ? 1 : 0);
    text.focus();
    text.setSelectionRange(from, from + (lines[number - 1] ?? "").length);
  }

  let asked = 0;
  async function check() {
    const mine = ++asked;
    try {
      const told = await Desk.ask("/api/lint", { text: text.value });
      if (mine === asked) show(told.findings);
    } catch (error) {
      if (mine === asked) list.replaceChildren(line(error.message, "bad"));
    }
  }

  let timer = 0;
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(check, 300);
  });

  document.getElementById("template").addEventListener("change", (event) => {
    text.value = event.target.selectedOptions[0].dataset.text;
    check();
  });

  let followed = "";
  async function follow(id) {
    followed = id;
    document.getElementById("sent").hidden = false;
    document.getElementById("sent-link").href = `/alerts/${id}`;
    while (followed === id) {
      const alert = await Desk.ask(`/api/alerts/${id}`, null, "GET");
      const status = document.getElementById("sent-status");
      status.dataset.status = alert.status;
      status.textContent = alert.status.toLowerCase().replaceAll("_", " ");
      document.getElementById("sent-reason").textContent = alert.reason;
      const timeline = document.getElementById("sent-timeline");
      timeline.replaceChildren(...alert.timeline.map((event) => {
        const time = Object.assign(document.createElement("time"), { dateTime: event.at });
        time.dataset.style = "time";
        const late = Object.assign(document.createElement("span"), { className: "late", textContent: `+${new Date(event.at) - new Date(alert.received_at)} ms` });
        const name = Object.assign(document.createElement("b"), { textContent: event.event.replaceAll("_", " ") });
        const words = Object.assign(document.createElement("p"), { textContent: event.detail });
        const item = document.createElement("li");
        item.append(time, late, name, words);
        return item;
      }));
      Desk.localise(timeline);
      if (ended.has(alert.status)) return;
      await new Promise((done) => setTimeout(done, alert.status === "AWAITING_APPROVAL" ? 2000 : 400));
    }
  }

  document.getElementById("bench").addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = event.target.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    try {
      const told = await Desk.ask("/api/try", { text: text.value, ask: event.submitter?.dataset.asks !== undefined });
      Desk.tell(told.message);
      follow(told.alert_id).catch((error) => Desk.tell(error.message));
    } catch (error) {
      Desk.tell(error.message);
      if (error.told?.reason !== undefined || error.told?.field !== undefined) check();
    } finally {
      for (const button of buttons) button.disabled = false;
      Desk.refresh();
    }
  });

  check();
})();
