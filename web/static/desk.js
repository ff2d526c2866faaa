// What every page does: times in the viewer's zone, parts that stay current, buttons that ask the server.
"use strict";

const Desk = (() => {
  const formKey = document.querySelector('meta[name="form-key"]')?.content ?? "";
  const styles = {
    time: { timeStyle: "medium" },
    date: { dateStyle: "medium" },
    both: { dateStyle: "medium", timeStyle: "medium" },
  };
  const listeners = [];
  // Milliseconds; a network that was changed leaves requests hanging for minutes.
  const patience = 15000;

  function write(time) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) return;
    const style = time.dataset.style in styles ? time.dataset.style : "both";
    const today = style === "time" && at.toDateString() !== new Date().toDateString();
    time.textContent = at.toLocaleString(undefined, styles[today ? "both" : style]);
    time.title = time.dateTime;
  }

  function localise(root) {
    for (const time of root.querySelectorAll("time[datetime]")) write(time);
    countDown();
  }

  function countDown() {
    for (const clock of document.querySelectorAll("[data-until]")) {
      const left = Math.round((new Date(clock.dataset.until) - Date.now()) / 1000);
      if (!Number.isFinite(left)) continue;
      const text = left > 0 ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left` : "time is over";
      if (clock.textContent !== text) clock.textContent = text;
    }
  }

  let toastTimer = 0;
  function tell(words) {
    const toast = document.getElementById("toast");
    if (!toast) return;
    toast.textContent = words;
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => { toast.textContent = ""; }, 6000);
  }

  // One request of this page to the server; its JSON, or an Error with words for a person.
  async function ask(path, body, method = "POST") {
    const options = { method, headers: { "X-Form-Key": formKey }, redirect: "manual", signal: AbortSignal.timeout(patience) };
    if (method === "POST") {
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body ?? {});
    }
    const answer = await fetch(path, options);
    if (answer.status === 401 || answer.type === "opaqueredirect") {
      location.reload();
      throw new Error("You are logged out.");
    }
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw Object.assign(new Error(told.message ?? `The server answered ${answer.status}.`), { told });
    return told;
  }

  // Whether the server took it; if not, `refused` is given the words.
  async function act(path, body, done, buttons, refused = tell) {
    for (const button of buttons) button.disabled = true;
    let taken = false;
    try {
      const told = await ask(path, body);
      taken = true;
      tell(done ?? told.message);
      if (told.alert_id) outcome(told.alert_id).catch((error) => tell(error.message));
    } catch (error) {
      const silent = error instanceof TypeError || error.name === "TimeoutError";
      refused(silent ? "No answer from the server: look whether it was done." : error.message);
    } finally {
      for (const button of buttons) button.disabled = false;
      await turn; // began before this was done
      await refresh();
    }
    return taken;
  }

  // A vote is a word: what the runner made of it is told as soon as it is known.
  async function outcome(id) {
    for (let tries = 0; tries < 20; tries += 1) {
      await new Promise((done) => setTimeout(done, 500));
      const alert = await ask(`/api/alerts/${id}`, null, "GET");
      if (["DONE", "DENIED", "DECLINED", "EXPIRED", "FAILED"].includes(alert.status)) {
        tell(`${alert.ticker} ${alert.message}: ${alert.status.toLowerCase()}${alert.reason ? `, ${alert.reason}` : ""}`);
        await refresh();
        return;
      }
    }
  }

  // Parts stay current: the page is fetched again, and what differs is put in place.
  let tag = ["", ""];
  let turn = null;
  let lost = null;
  let seen = new Date();

  const sliding = (part) => [part, ...part.querySelectorAll("*")].filter((each) => each.matches(".scroll, pre"));

  // What a person has opened inside, or slid to the side, stays so.
  function replace(old, fresh) {
    const places = sliding(old).map((each) => each.scrollLeft);
    const open = new Set([...old.querySelectorAll("details[open]")].map((each) => each.textContent));
    old.replaceWith(fresh);
    sliding(fresh).forEach((each, at) => { each.scrollLeft = places[at] ?? 0; });
    for (const each of fresh.querySelectorAll("details")) each.open = open.has(each.textContent);
  }

  // A button that has just come or moved takes no click: it was aimed at what stood there before.
  function steady(change) {
    const acting = () => [...document.querySelectorAll("button[data-ask]")];
    const before = new Map(acting().map((each) => [each.dataset.ask, each.getBoundingClientRect().top]));
    change();
    for (const each of acting()) {
      if (before.get(each.dataset.ask) === each.getBoundingClientRect().top) continue;
      each.classList.add("moving");
      setTimeout(() => each.classList.remove("moving"), 600);
    }
  }

  function swap(old, fresh) {
    if (old.dataset.keyed === undefined) {
      if (old.contains(document.activeElement)) {
        const name = document.activeElement.id || document.activeElement.getAttribute("href");
        replace(old, fresh);
        const again = name && (document.getElementById(name) ?? fresh.querySelector(`[href="${CSS.escape(name)}"]`));
        (again ?? fresh.querySelector("button, a"))?.focus({ preventScroll: true });
      } else {
        replace(old, fresh);
      }
      return fresh;
    }
    // A list whose items, once shown, stay as they are (they hold charts): only what came and what went.
    const there = new Set([...fresh.children].map((child) => child.id));
    for (const child of [...old.children]) if (!there.has(child.id)) child.remove();
    for (const child of [...fresh.children]) if (!document.getElementById(child.id)) old.append(child);
    return old;
  }

  const originals = new Map();
  function take(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const count = /^\(\d+\) /;
    document.title = (count.exec(page.title)?.[0] ?? "") + document.title.replace(count, "");
    for (const fresh of page.querySelectorAll("[data-part]")) {
      const old = document.getElementById(fresh.id);
      const source = fresh.outerHTML;
      if (!old || originals.get(fresh.id) === source) continue;
      originals.set(fresh.id, source);
      const now = swap(old, document.adoptNode(fresh));
      localise(now);
      for (const listener of listeners) listener(now);
    }
  }

  async function refresh() {
    const { frame, live } = document.body.dataset;
    // A page that nobody sees asks only for what stands around all of them.
    const source = live === undefined || document.hidden ? frame : location.pathname + location.search;
    turn ??= (async () => {
      try {
        const headers = tag[0] === source && tag[1] ? { "If-None-Match": tag[1] } : {};
        const signal = AbortSignal.timeout(patience);
        const answer = await fetch(source, { headers, redirect: "manual", cache: "no-store", signal });
        if (answer.type === "opaqueredirect") return location.reload();
        if (answer.status !== 304 && !answer.ok) throw new Error(String(answer.status));
        if (answer.status === 200) {
          const text = await answer.text();
          steady(() => take(text));
          tag = [source, answer.headers.get("ETag") ?? ""];
        }
        seen = new Date();
        lost = null;
      } catch {
        lost ??= seen;
      } finally {
        const banner = document.getElementById("lost");
        if (banner.hidden !== (lost === null)) steady(() => { banner.hidden = lost === null; });
        if (lost) {
          const time = banner.querySelector("time");
          time.dateTime = lost.toISOString();
          write(time);
        }
        turn = null;
      }
    })();
    return turn;
  }

  async function keepCurrent() {
    const every = Number(document.body.dataset.live ?? 5) * 1000;
    for (;;) {
      await new Promise((done) => setTimeout(done, document.hidden ? 15000 : lost ? every * 2 : every));
      await refresh();
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.opens) {
      const dialog = document.getElementById(button.dataset.opens);
      dialog.querySelector("[data-words]").hidden = true;
      dialog.showModal();
    }
    else if (button.dataset.closes !== undefined) button.closest("dialog").close();
    else if (button.dataset.copy) {
      const text = document.getElementById(button.dataset.copy).textContent;
      navigator.clipboard.writeText(text).then(() => tell("Copied"), () => tell("The browser does not let me copy: select it by hand."));
    } else if (button.dataset.ask) {
      const together = button.closest(".buttons")?.querySelectorAll("button") ?? [button];
      act(button.dataset.ask, {}, button.dataset.done, together);
    }
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.ask) return;
    event.preventDefault();
    const body = Object.fromEntries(new FormData(form));
    const words = form.querySelector("[data-words]");
    words.hidden = true;
    const refused = (said) => { words.textContent = said; words.hidden = false; };
    act(form.dataset.ask, body, form.dataset.done, form.querySelectorAll("button"), refused)
      .then((taken) => { if (taken) form.closest("dialog").close(); });
  });

  for (const part of document.querySelectorAll("[data-part]")) originals.set(part.id, part.outerHTML);
  localise(document);
  setInterval(countDown, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  keepCurrent();

  return { ask, tell, refresh, localise, onPart: (listener) => listeners.push(listener) };
})();
