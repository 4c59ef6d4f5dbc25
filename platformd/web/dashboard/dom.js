// Builds elements. Text only ever becomes text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `given` sets attributes, `on*` listeners and `text`; children are nodes, strings or lists of them. */
export function h(tag, given = {}, ...children) {
  return fill(document.createElement(tag), given, children);
}

/** The same for SVG. */
export function s(tag, given = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), given, children);
}

function fill(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Shows `children` in `element` in place of what was there. */
export function show(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
  return element;
}

/** Calls `work` at most once in `ms`, with the last call never lost. */
export function calmly(work, ms) {
  let timer = null;
  let last = 0;
  return () => {
    if (timer !== null) return;
    const wait = Math.max(0, ms - (performance.now() - last));
    timer = setTimeout(() => {
      timer = null;
      last = performance.now();
      work();
    }, wait);
  };
}

/**
 * `work`, one at a time: a call while one is under way, which may have read before what the caller knows,
 * is answered by one that begins afterwards.
 */
export function inTurn(work) {
  let running = null;
  let next = null;
  const turn = () => {
    if (running === null) {
      running = work().finally(() => {
        running = null;
      });
      return running;
    }
    next ??= running.catch(() => {}).then(() => {
      next = null;
      return turn();
    });
    return next;
  };
  return turn;
}

/** A link only where an address is one that a browser may safely open. */
export function outside(address, label = address) {
  return /^https?:\/\//.test(address)
    ? h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, label)
    : h("span", { text: label });
}
