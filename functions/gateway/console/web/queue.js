// The queue: alerts come in at the top by themselves, but never under the hands of
// someone who works. While an alert is chosen or looked at, or the page is scrolled,
// what is new waits behind a button, and only what changed on the page is shown.

import { morph } from '/assets/morph.js';
import { comesFrom, onLive, refresh } from '/assets/live.js';

const rows = () => [...document.querySelectorAll('#rows tr')];
const chosen = () => [...document.querySelectorAll('#rows input:checked')];
const here = () => document.activeElement?.closest?.('#rows tr');
const working = () => chosen().length > 0 || here() !== null && here() !== undefined || window.scrollY > 40;

let waiting = null; // the live part with what is new, where it waits

// A page of few answers says how far it has looked, and one with none so far goes on by itself.
function goOn(live) {
  const { here, further } = live.querySelector('#bar')?.dataset ?? {};
  if (here) comesFrom(here);
  if (further !== undefined) refresh();
}

function take(live, next) {
  goOn(next);
  const known = new Set(rows().map((r) => r.id));
  const fresh = [...next.querySelectorAll('#rows tr')].filter((r) => !known.has(r.id));
  const first = document.getElementById('queue')?.dataset.first ?? '';
  const newer = fresh.filter((r) => place(r.dataset.place) > place(first));
  if (known.size && newer.length && working()) {
    waiting = next.cloneNode(true);
    for (const r of next.querySelectorAll('#rows tr')) { // what is here, as it is now
      if (known.has(r.id)) bring(document.getElementById(r.id), r);
    }
    const button = document.getElementById('fresh');
    button.textContent = newer.length === 1 ? '1 new alert' : `${newer.length}${next.querySelectorAll('#rows tr').length === newer.length ? '+' : ''} new alerts`;
    button.hidden = false;
    return;
  }
  waiting = null;
  if (known.size) for (const r of fresh) r.classList.add('arrived');
  put(live, next);
}

// Boxes that are ticked are the page's own.
function bring(from, to) {
  const box = to.querySelector('input');
  if (box && from.querySelector('input')?.checked) box.setAttribute('checked', '');
  if (from.classList.contains('arrived')) to.classList.add('arrived');
  morph(from, to);
}

function put(live, next) {
  for (const r of next.querySelectorAll('#rows tr')) {
    const was = document.getElementById(r.id);
    if (was?.classList.contains('arrived')) r.classList.add('arrived');
  }
  morph(live, next);
  count();
}

function place(s) { return Number((s ?? '').split('_')[0]) || 0; }

function showWaiting() {
  if (!waiting) return;
  const next = waiting;
  waiting = null;
  put(document.getElementById('live'), next);
  document.getElementById('fresh').hidden = true;
  window.scrollTo({ top: 0 });
  refresh();
}

function count() {
  const n = chosen().length;
  const bar = document.getElementById('bulkbar');
  if (!bar) return;
  bar.classList.toggle('on', n > 0);
  document.getElementById('chosen').textContent = n === 0 ? 'Nothing chosen' : n === 1 ? '1 alert chosen' : `${n} alerts chosen`;
  const all = document.querySelector('[data-all]');
  if (all) {
    all.checked = n > 0 && n === rows().length;
    all.indeterminate = n > 0 && n < rows().length;
  }
}

function clear() {
  for (const box of chosen()) box.checked = false;
  count();
}

async function change(status, ids) {
  if (!ids.length) return;
  const outcome = document.getElementById('outcome');
  const form = new URLSearchParams(ids.map((id) => ['id', id]));
  form.set('status', status);
  form.set('part', 'live');
  const waits = document.createElement('div');
  waits.className = 'outcome looking';
  waits.textContent = 'Changing …';
  outcome.replaceChildren(waits);
  try {
    const answer = await fetch('/alerts/status', { method: 'POST', body: form, signal: AbortSignal.timeout(15_000) });
    outcome.innerHTML = await answer.text();
    if (answer.ok) clear();
  } catch {
    outcome.textContent = 'The change did not reach this site. Nothing is known of what it did; look at the queue again once the site answers.';
  }
  outcome.dataset.said = String(Date.now());
  setTimeout(() => { if (Date.now() - Number(outcome.dataset.said) > 7_500 && !outcome.querySelector('.partly')) outcome.replaceChildren(); }, 8_000);
  refresh();
}

function move(by) {
  const all = rows();
  const now = all.indexOf(here());
  const next = all[Math.min(Math.max(now + by, 0), all.length - 1)];
  next?.querySelector('.title a').focus();
  next?.scrollIntoView({ block: 'nearest' });
}

function key(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
  if (e.target.matches?.('input[type=search], select, textarea')) {
    if (e.key === 'Escape') e.target.blur();
    return;
  }
  const row = here();
  const ids = () => { const c = chosen().map((b) => b.value); return c.length ? c : row ? [row.id.slice(2)] : []; };
  const may = document.getElementById('bulkbar');
  const does = {
    j: () => move(1), k: () => move(-1), ArrowDown: row && (() => move(1)), ArrowUp: row && (() => move(-1)),
    x: may && row && (() => { row.querySelector('input').click(); }),
    t: may && (() => change('triaged', ids())), r: may && (() => change('resolved', ids())),
    '/': search, '?': () => document.getElementById('help').showModal(), '.': showWaiting,
    Escape: () => { clear(); document.activeElement?.blur(); },
  }[e.key];
  if (!does) return;
  e.preventDefault();
  does();
}

function search() {
  const field = document.querySelector('#filters input[type=search]');
  field.closest('details').open = true;
  field.focus();
  field.select();
}

const campaignsEvery = 30_000, campaignsSoon = 5_000; // the site looks for them every 15 s at most
let campaignsDue = 0;

/** Asks for the campaigns after a time, or sooner where that is due already. */
function campaignsIn(wait) {
  const at = Date.now() + wait;
  if (campaignsDue > Date.now() && campaignsDue <= at) return;
  campaignsDue = at;
  setTimeout(() => { if (campaignsDue === at) campaigns(); }, wait);
}

async function campaigns() {
  const box = document.getElementById('campaigns');
  campaignsDue = 0;
  campaignsIn(campaignsEvery);
  if (!box || document.hidden) return;
  try {
    const answer = await fetch(`${box.dataset.src}?part=live`, { signal: AbortSignal.timeout(8_000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const next = box.cloneNode(false);
    next.innerHTML = await answer.text();
    morph(box, next);
  } catch { // the banner tells of a site that does not answer
    const looking = box.querySelector('.looking');
    if (looking) {
      looking.classList.remove('looking');
      looking.textContent = 'What several sites saw could not be looked for.';
    }
  }
}

export function start() {
  onLive(take);
  if (window.matchMedia('(min-width: 48rem)').matches) document.querySelector('#filters details').open = true;
  document.addEventListener('keydown', key);
  document.addEventListener('change', (e) => {
    if (e.target.matches('[data-all]')) for (const r of rows()) r.querySelector('input').checked = e.target.checked;
    if (e.target.matches('#filters select')) e.target.form.requestSubmit();
    count();
  });
  document.addEventListener('click', (e) => {
    if (e.target.closest('#fresh')) showWaiting();
    if (e.target.closest('[data-clear]')) clear();
    if (e.target.closest('[data-help]')) document.getElementById('help').showModal();
  });
  document.getElementById('filters').addEventListener('formdata', (e) => { // no empty filters in the address
    for (const [name, value] of [...e.formData]) if (value === '') e.formData.delete(name);
  });
  document.getElementById('bulk').addEventListener('submit', (e) => {
    if (!e.submitter?.value) return;
    e.preventDefault();
    change(e.submitter.value, chosen().map((b) => b.value));
  });
  goOn(document);
  campaigns();
  document.addEventListener('mesh', (e) => { if (e.detail.kind.startsWith('alert-')) campaignsIn(campaignsSoon); });
  count();
}
