// Brings a part of the page to what the site says it is now, and touches nothing that
// is so already: the focus, what is chosen and what is scrolled stay. An element with
// an id is the same element wherever it stands.

const own = new Set(['open', 'hidden']); // the page's to change, not the site's, where data-own is set

export function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
    from.replaceWith(to);
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  if (from.hasAttribute('data-keep')) return;
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value && !(own.has(name) && from.hasAttribute('data-own'))) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !(own.has(name) && from.hasAttribute('data-own'))) from.removeAttribute(name);
  }
  children(from, to);
}

function children(from, to) {
  const known = new Map();
  for (const c of from.children) if (c.id) known.set(c.id, c);
  const wanted = new Set();
  for (const c of to.children) if (c.id) wanted.add(c.id);
  let at = from.firstChild;
  for (const next of [...to.childNodes]) {
    while (at && at.id && !wanted.has(at.id)) { // what is gone goes at once, so that the rest does not move
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    const same = next.id ? known.get(next.id) : at && !at.id && at.nodeName === next.nodeName ? at : null;
    if (!same) {
      from.insertBefore(next, at);
    } else if (same === at) {
      at = at.nextSibling;
      morph(same, next);
    } else {
      from.insertBefore(same, at);
      morph(same, next);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}
