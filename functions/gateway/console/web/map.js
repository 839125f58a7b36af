// The map: zoom, and the pulse of an alert that crosses. The view stays as it is while
// the site draws the map anew.

import { morph } from '/assets/morph.js';
import { onLive } from '/assets/live.js';

let view = null; // x, y, width, height; null: the whole map

const svg = () => document.querySelector('#map > svg');

function whole(map) { return map.dataset.whole.split(' ').map(Number); }

function keep() {
  const map = svg();
  if (!map) return;
  map.dataset.whole ??= map.getAttribute('viewBox');
  if (view) map.setAttribute('viewBox', view.join(' '));
  else map.setAttribute('viewBox', map.dataset.whole);
}

function zoom(by, px = 0.5, py = 0.5) {
  const map = svg();
  if (!map) return;
  const [, , w0] = whole(map);
  const [x, y, w, h] = view ?? whole(map);
  const scale = Math.min(Math.max(by, w / (w0 * 1.5)), (w / w0) * 12);
  const width = w / scale, height = h / scale;
  view = by === 0 || width >= w0 ? null : [x + (w - width) * px, y + (h - height) * py, width, height];
  keep();
}

export function start() {
  keep();
  const box = document.getElementById('map');
  if (box) box.scrollLeft = (box.scrollWidth - box.clientWidth) / 2; // where it does not fit, its middle is seen first
  onLive((live, next) => {
    const drawn = next.querySelector('#map > svg');
    const now = svg();
    if (drawn && now) {
      drawn.dataset.whole = drawn.getAttribute('viewBox');
      if (view) drawn.setAttribute('viewBox', view.join(' '));
      for (const a of live.querySelectorAll('.pulse')) { // an alert that is on its way goes on
        for (const b of next.querySelectorAll(`[data-link="${CSS.escape(a.dataset.link)}"]`)) b.classList.add('pulse');
      }
    }
    morph(live, next);
  });
  document.addEventListener('click', (e) => {
    const how = e.target.closest?.('[data-zoom]')?.dataset.zoom;
    if (how) zoom({ in: 1.4, out: 1 / 1.4, all: 0 }[how]);
  });
  document.addEventListener('wheel', (e) => {
    const map = e.target.closest?.('#map > svg');
    if (!map || !(e.ctrlKey || e.metaKey)) return; // else the page scrolls
    e.preventDefault();
    const box = map.getBoundingClientRect();
    zoom(e.deltaY < 0 ? 1.2 : 1 / 1.2, (e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height);
  }, { passive: false });
  let from = null;
  document.addEventListener('pointerdown', (e) => { if (view && e.target.closest?.('#map > svg')) from = [e.clientX, e.clientY, ...view]; });
  document.addEventListener('pointerup', () => { from = null; });
  document.addEventListener('pointermove', (e) => {
    const map = svg();
    if (!from || !map) return;
    const box = map.getBoundingClientRect();
    view = [from[2] - ((e.clientX - from[0]) / box.width) * from[4], from[3] - ((e.clientY - from[1]) / box.height) * from[5], from[4], from[5]];
    keep();
  });
  document.addEventListener('mesh', (e) => {
    const site = e.detail.kind === 'alert-stored' && e.detail.event.alert?.origin?.site_id;
    if (!site) return;
    for (const edge of document.querySelectorAll(`#map [data-peer="${CSS.escape(site)}"]`)) {
      edge.classList.remove('pulse');
      edge.getBoundingClientRect(); // so that it begins anew
      edge.classList.add('pulse');
      edge.addEventListener('animationend', () => edge.classList.remove('pulse'), { once: true });
    }
  });
}
