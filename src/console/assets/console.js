"use strict";
// Everything works without this script; with it pages are live, searches answer while one types, and keys lead around.
(() => {
  const body = document.body;
  const byItself = { headers: { "x-by-itself": "1" } };

  const fetched = async (url, signal) => {
    const answer = await fetch(url, { ...byItself, signal });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };

  // Makes `now` like `next`, and leaves alone what is the same: focus, selection and movement stay.
  const morph = (now, next) => {
    if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) {
      now.replaceWith(document.importNode(next, true));
      return;
    }
    if (now.nodeType !== Node.ELEMENT_NODE) {
      if (now.nodeValue !== next.nodeValue) now.nodeValue = next.nodeValue;
      return;
    }
    for (const { name } of [...now.attributes]) if (!next.hasAttribute(name)) now.removeAttribute(name);
    for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    const fresh = [...next.childNodes];
    [...now.childNodes].slice(fresh.length).forEach((node) => node.remove());
    fresh.forEach((node, at) => {
      const old = now.childNodes[at];
      if (old) morph(old, node);
      else now.append(document.importNode(node, true));
    });
  };

  // Live: parts that carry data-refresh follow the hub.
  const live = document.getElementById("live");
  let refreshing = false;
  let stale = false;
  const refresh = async () => {
    const parts = [...document.querySelectorAll("[data-refresh]")];
    if (parts.length === 0) return;
    if (refreshing || document.hidden) { stale = true; return; }
    refreshing = true;
    stale = false;
    try {
      const page = await fetched(location.href);
      for (const part of parts) {
        const next = page.querySelector(`[data-refresh="${part.dataset.refresh}"]`);
        if (next && !part.querySelector("form:focus-within")) morph(part, next);
      }
    } catch { stale = true; }
    setTimeout(() => { refreshing = false; if (stale) refresh(); }, 2500);
  };
  const listen = () => {
    if (!body.dataset.live || !window.EventSource) return;
    const source = new EventSource(body.dataset.live);
    let first = true;
    source.addEventListener("open", () => { live.className = "live on"; live.textContent = live.dataset.on; });
    source.addEventListener("error", () => { live.className = "live off"; live.textContent = live.dataset.off; });
    source.addEventListener("revision", () => { if (!first) refresh(); first = false; });
    addEventListener("pagehide", () => source.close());
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && stale) refresh(); });
  listen();

  // Instant search: the results follow the fields.
  for (const form of document.querySelectorAll("form[data-instant]")) {
    const results = document.getElementById(form.dataset.instant);
    let timer = 0;
    let running = null;
    const ask = async () => {
      const given = [...new FormData(form)].filter(([, value]) => value !== "");
      const url = `${form.action}?${new URLSearchParams(given)}`;
      running?.abort();
      running = new AbortController();
      results.classList.add("waiting-for");
      results.setAttribute("aria-busy", "true");
      try {
        const page = await fetched(url, running.signal);
        const next = page.getElementById(form.dataset.instant);
        results.replaceChildren(...[...next.childNodes].map((node) => document.importNode(node, true)));
        history.replaceState(null, "", url);
      } catch (error) {
        if (error.name === "AbortError") return;
        form.submit();
      }
      results.classList.remove("waiting-for");
      results.removeAttribute("aria-busy");
    };
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 220); });
    form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); ask(); });
  }

  // Keys.
  let after = "";
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const lead = (key) => {
      const link = document.querySelector(`.menu a[data-key="${CSS.escape(key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
    };
    if (after === "g") lead(event.key);
    else if (event.key === "?") lead("?");
    else if (event.key === "/") {
      const field = document.getElementById("q");
      if (field) { event.preventDefault(); field.focus(); field.select(); }
    }
    after = event.key === "g" && after !== "g" ? "g" : "";
  });

  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => print());
  }
  document.addEventListener("click", (event) => {
    for (const open of document.querySelectorAll("details.user[open]")) if (!open.contains(event.target)) open.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const open of document.querySelectorAll("details.user[open]")) { open.open = false; open.querySelector("summary").focus(); }
  });
})();
