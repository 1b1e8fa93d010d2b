// Keeps a page up to date: the server sends the parts that have changed, and only what differs is touched, so that
// focus, selections, open details and scroll positions stay. Pages work without it; they then show what was when they
// were loaded.
"use strict";
(() => {
  const sign = document.getElementById("live");
  const address = document.body.dataset.live;
  // How often a connection that the server refused is tried again, milliseconds.
  const AGAIN = 5000;
  let source = null;
  let timer = 0;

  // What was done is said once, not again after a reload.
  const here = new URL(location.href);
  if (here.searchParams.has("done")) {
    here.searchParams.delete("done");
    history.replaceState(null, "", here);
  }

  function say(state, text) {
    sign.className = "live " + state;
    sign.lastElementChild.textContent = text;
  }

  function key(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
  }

  function alike(held, wanted) {
    return held.nodeType === wanted.nodeType && held.nodeName === wanted.nodeName && key(held) === key(wanted);
  }

  // Makes the children of `held` be as those of `wanted`.
  function children(held, wanted) {
    const keyed = new Map();
    for (const child of held.children) {
      if (key(child)) keyed.set(key(child), child);
    }
    let at = held.firstChild;
    for (const next of [...wanted.childNodes]) {
      const same = at && alike(at, next) ? at : keyed.get(key(next));
      if (!same || !alike(same, next)) {
        held.insertBefore(next, at);
        continue;
      }
      if (same === at) at = at.nextSibling;
      else held.insertBefore(same, at);
      one(same, next);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  function one(held, wanted) {
    if (held.nodeType !== Node.ELEMENT_NODE) {
      if (held.nodeValue !== wanted.nodeValue) {
        held.nodeValue = wanted.nodeValue;
        if (held.nodeValue.trim()) mark(held.parentElement);
      }
      return;
    }
    for (const { name } of [...held.attributes]) {
      // Whether something is open, and its colour after a change, belong to the reader.
      if (!wanted.hasAttribute(name) && !(name === "open" && held.nodeName === "DETAILS")) held.removeAttribute(name);
    }
    for (const { name, value } of wanted.attributes) {
      if (held.getAttribute(name) !== value) held.setAttribute(name, value);
    }
    const end = held.scrollTop + held.clientHeight >= held.scrollHeight - 4;
    children(held, wanted);
    if (end && held.matches(".log")) held.scrollTop = held.scrollHeight;
  }

  // Ages change all the time; what else changes in a table is worth a glance.
  function mark(element) {
    const cell = element && element.closest("td");
    if (!cell || cell.matches(".num:last-child, .events td, td.num:first-child")) return;
    cell.classList.remove("changed");
    requestAnimationFrame(() => cell.classList.add("changed"));
  }

  function draw(event) {
    for (const [id, html] of Object.entries(JSON.parse(event.data).parts)) {
      const part = document.getElementById("s-" + id);
      const wanted = new DOMParser().parseFromString("<section>" + html.trim() + "</section>", "text/html");
      if (part) children(part, wanted.body.firstElementChild);
    }
    say("on", "Live");
  }

  function close() {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  }

  function open() {
    close();
    source = new EventSource(address);
    source.addEventListener("draw", draw);
    source.addEventListener("gone", (event) => say("over", JSON.parse(event.data).message));
    source.addEventListener("over", () => {
      close();
      say("over", "Session over: reload to log in");
    });
    source.addEventListener("error", () => {
      say("waits", "Reconnecting");
      if (source && source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN);
    });
  }

  for (const log of document.querySelectorAll(".log")) log.scrollTop = log.scrollHeight;
  if (!sign || !address) return;
  for (const part of document.querySelectorAll(".grid > section")) part.normalize();
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && open());
  say("waits", "Connecting");
  open();
})();
