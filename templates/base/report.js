/* What the page does beyond being read: the contents follow, panels become tabs, numbers show their card.
   Everything is readable without it.

   Numbers by keyboard: each section is one tab stop, on its first number. Left and right arrows go from
   number to number, Home and End to the section's first and last, Escape puts the card away. */
(() => {
  "use strict";

  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const element = (name, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };

  /* Contents: folded on a small screen, the current section marked. */
  function contents() {
    const nav = document.getElementById("TOC");
    if (!nav || !document.body.classList.contains("report")) return;
    const fold = nav.querySelector("details");
    const wide = matchMedia("(min-width: 68rem)");
    const adapt = () => { if (fold) fold.open = wide.matches; };
    adapt();
    wide.addEventListener("change", adapt);
    nav.addEventListener("click", (event) => {
      if (event.target.closest("a") && fold && !wide.matches) fold.open = false;
    });
    follow(nav);
  }

  function follow(nav) {
    const links = new Map(all('a[href^="#"]', nav).map((a) => [decodeURIComponent(a.hash.slice(1)), a]));
    const targets = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
    const inView = new Set();
    const mark = () => {
      const current = targets.filter((target) => inView.has(target)).pop();
      if (!current) return;
      for (const [id, link] of links) {
        if (id === current.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
      const link = links.get(current.id);
      if (getComputedStyle(nav).position === "sticky") {
        const box = nav.getBoundingClientRect(), at = link.getBoundingClientRect();
        if (at.top < box.top || at.bottom > box.bottom) nav.scrollTop += at.top - box.top - box.height / 2;
      }
    };
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) inView[isIntersecting ? "add" : "delete"](target);
      mark();
    }, { rootMargin: "-12% 0px -80% 0px" });
    targets.forEach((target) => observer.observe(target));
  }

  /* Tabs after the ARIA authoring practices: one tab stop, arrows move, the panel is labelled by its tab. */
  function tabset(root, index) {
    const panels = all(":scope > .tab", root);
    if (panels.length < 2) return;
    const list = element("div", { role: "tablist" });
    list.setAttribute("role", "tablist");
    const tabs = panels.map((panel, i) => {
      const tab = element("button", { type: "button", id: `tabset-${index}-tab-${i}` });
      tab.textContent = panel.querySelector(":scope > .tab-title").textContent.trim();
      panel.id ||= `tabset-${index}-panel-${i}`;
      for (const [name, value] of [["role", "tab"], ["aria-controls", panel.id]]) tab.setAttribute(name, value);
      for (const [name, value] of [["role", "tabpanel"], ["aria-labelledby", tab.id]]) panel.setAttribute(name, value);
      return tab;
    });
    const choose = (chosen) => tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === chosen));
      tab.tabIndex = i === chosen ? 0 : -1;
      panels[i].hidden = i !== chosen;
    });
    list.addEventListener("click", (event) => {
      const at = tabs.indexOf(event.target.closest("button"));
      if (at >= 0) choose(at);
    });
    list.addEventListener("keydown", (event) => {
      const at = tabs.indexOf(document.activeElement), last = tabs.length - 1;
      const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at ? at - 1 : last, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(to);
      tabs[to].focus();
    });
    list.append(...tabs);
    root.prepend(list);
    root.classList.add("tabbed");
    choose(0);
  }

  /* A link into a panel or a folded block opens it first. */
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
      if (node.getAttribute("role") === "tabpanel") document.getElementById(node.getAttribute("aria-labelledby")).click();
    }
    if (target) target.scrollIntoView();
  }

  /* Numbers ------------------------------------------------------------------------------------------ */

  const ROWS = [["value", "Value"], ["unit", "Unit"], ["model", "Model"], ["method", "Method"], ["r", "R"], ["where", "Where"]];

  function quantities() {
    const block = document.getElementById("mlm-quantities");
    return block ? JSON.parse(block.textContent) : {};
  }

  function numberCards() {
    const numbers = all("span.q").filter((span) => span.dataset.id || span.dataset.value);
    if (!numbers.length) return;
    const numberAt = (target) => {
      const span = target.closest?.("span.q");
      return span && (span.dataset.id || span.dataset.value) ? span : null;
    };
    const known = quantities();
    const card = element("div", { id: "number-card", hidden: true });
    card.setAttribute("role", "tooltip");
    document.body.append(card);
    let shown = null, timer = 0;

    const hide = () => {
      clearTimeout(timer);
      if (!shown) return;
      shown.classList.remove("shown");
      shown.removeAttribute("aria-describedby");
      shown = null;
      card.hidden = true;
    };
    const show = (span) => {
      clearTimeout(timer);
      if (span === shown) return;
      hide();
      card.replaceChildren(...cardContent({ ...known[span.dataset.id], ...span.dataset }));
      card.hidden = false;
      card.scrollTop = 0;
      shown = span;
      span.classList.add("shown");
      span.setAttribute("aria-describedby", card.id);
      place(card, span);
    };
    const later = (action, wait) => { clearTimeout(timer); timer = setTimeout(action, wait); };

    document.addEventListener("pointerover", (event) => {
      if (event.pointerType === "touch") return;
      const span = numberAt(event.target);
      if (span) later(() => show(span), shown ? 60 : 140);
      else if (event.target.closest?.("#number-card")) clearTimeout(timer);
      else if (shown && document.activeElement !== shown) later(hide, 220);
      else if (!shown) clearTimeout(timer);
    });
    document.addEventListener("click", (event) => {
      const span = numberAt(event.target);
      if (span) show(span);
      else if (!event.target.closest("#number-card")) hide();
    });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    addEventListener("scroll", (event) => { if (shown && event.target !== card) place(card, shown); }, { capture: true, passive: true });
    addEventListener("resize", hide);
    rove(numbers, show, hide);
  }

  function cardContent(data) {
    const list = element("dl");
    for (const [key, name] of ROWS) {
      if (data[key] === undefined || data[key] === "") continue;
      const text = String(data[key]).replace(/^-(?=\d)/, "\u2212");
      list.append(element("dt", {}, name), element("dd", {}, key === "r" || key === "where" ? element("code", {}, String(data[key])) : text));
    }
    return [element("p", { className: "card-label" }, data.label || data.id || "Value"), list];
  }

  /* Below the number, above it where there is no room; on a phone the stylesheet docks the card. */
  function place(card, span) {
    const at = span.getClientRects()[0] ?? span.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = card;
    const below = at.bottom + 6 + height < innerHeight;
    card.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - height - 6)}px`;
    card.style.left = `${Math.max(8, Math.min(at.left - 12, innerWidth - width - 12))}px`;
  }

  /* One tab stop per section; the arrow keys go on from there. */
  function rove(numbers, show, hide) {
    const sections = new Map();
    for (const span of numbers) {
      const section = span.closest("section.level1") ?? document.body;
      if (!sections.has(section)) sections.set(section, []);
      sections.get(section).push(span);
      span.tabIndex = -1;
    }
    for (const [first] of sections.values()) first.tabIndex = 0;
    document.addEventListener("focusin", (event) => {
      if (!numbers.includes(event.target)) return;
      const group = sections.get(event.target.closest("section.level1") ?? document.body);
      group.forEach((span) => { span.tabIndex = span === event.target ? 0 : -1; });
      if (event.target.matches(":focus-visible")) show(event.target);
    });
    document.addEventListener("focusout", (event) => { if (numbers.includes(event.target)) hide(); });
    document.addEventListener("keydown", (event) => {
      const at = numbers.indexOf(document.activeElement);
      if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      const group = sections.get(numbers[at].closest("section.level1") ?? document.body);
      const to = { ArrowRight: numbers[at + 1], ArrowLeft: numbers[at - 1], Home: group[0], End: group.at(-1) }[event.key];
      if (!to) return;
      event.preventDefault();
      to.focus();
      to.scrollIntoView({ block: "nearest" });
      show(to);
    });
  }

  contents();
  all(".panel-tabset").forEach(tabset);
  numberCards();
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();
  addEventListener("beforeprint", () => all("main details:not([open])").forEach((fold) => {
    fold.open = true;
    addEventListener("afterprint", () => { fold.open = false; }, { once: true });
  }));
})();
