// Keeps a page live, and honest about it. The site's event stream says that something
// has happened; the page then asks for its live part again, at most twice a second,
// and every few seconds besides. Where no answer comes the page says how old it is, and
// the style sheet takes its colours away: what was green need not be.

import { morph } from '/assets/morph.js';

const { events, page } = document.body.dataset;
let address = document.body.dataset.refresh; // of the live part
const every = page === 'queue' ? 15_000 : 5_000; // events tell of alerts, but not of latencies
const patience = 8_000;  // for one answer
const tooOld = 20_000;   // without an answer
const shortest = 500;    // between two questions

let answered = Date.now();
let failed = '';
let asking = false;
let again = false;
let last = 0;
let timer = 0;

const banner = document.getElementById('banner');
const state = document.getElementById('live-state');

/** What to do with the new live part in place of taking it over whole. */
let take = (live, next) => morph(live, next);
export function onLive(f) { take = f; }

/** Says from where the live part comes from now on. */
export function comesFrom(href) { address = href; }

/** Asks for the live part, now or as soon as may be. */
export function refresh(wait = 0) {
  if (!address) return;
  if (asking) { again = true; return; }
  clearTimeout(timer);
  timer = setTimeout(ask, Math.max(wait, last + shortest - Date.now(), 0));
}

async function ask() {
  asking = true;
  again = false;
  last = Date.now();
  const url = new URL(address, location.origin);
  url.searchParams.set('part', 'live');
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(patience), redirect: 'manual' });
    if (answer.status === 401 || answer.type === 'opaqueredirect') {
      location.reload(); // the session is over, and the site says what to do
      return;
    }
    if (!answer.ok) throw new Error(answer.status >= 500 ? 'A part of this site does not answer' : 'This site refuses the page');
    const html = await answer.text();
    const live = document.getElementById('live');
    if (live) {
      const next = document.createElement('div');
      next.id = 'live';
      next.innerHTML = html;
      take(live, next);
    } else {
      location.reload(); // a problem was shown, and it is mended
      return;
    }
    answered = Date.now();
    failed = '';
  } catch (e) {
    failed = e instanceof TypeError || e.name === 'TimeoutError' ? 'This site cannot be reached' : e.message;
  } finally {
    asking = false;
    show();
    if (!document.hidden) refresh(again ? 0 : failed ? 2_000 : every);
  }
}

function age(ms) {
  const s = Math.round(ms / 1000);
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
}

function show() {
  if (!state) return;
  const old = Date.now() - answered;
  const stale = failed !== '' || old > tooOld;
  document.body.classList.toggle('stale', stale);
  document.body.classList.toggle('live', !stale && (!events || source?.readyState === EventSource.OPEN));
  const word = stale ? 'not live' : events && source?.readyState !== EventSource.OPEN ? 'reconnecting' : 'live';
  const shown = state.querySelector('.word');
  if (shown.textContent !== word) shown.textContent = word;
  banner.hidden = !stale;
  if (stale) {
    const why = failed || 'This page was asleep';
    const since = new Date(answered).toISOString().slice(11, 19);
    if (!banner.firstChild) banner.append(document.createElement('strong'), ' ', document.createElement('span'));
    if (banner.firstChild.textContent !== `${why}.`) banner.firstChild.textContent = `${why}.`;
    banner.lastChild.textContent = `What you see is as it was at ${since} UTC, ${age(old)} ago.`;
  } else {
    banner.replaceChildren();
  }
}

const kinds = ['alert-stored', 'alert-updated', 'link-transition', 'site-transition', 'site-seen', 'backlog-dropped', 'delivery-repaired', 'gap'];
let source = null;

// A browser opens only six connections to one site. A page that nobody looks at must
// not keep one of them.
function listen() {
  if (!events || source) return;
  source = new EventSource(events);
  for (const kind of kinds) {
    source.addEventListener(kind, (e) => {
      let event = {};
      try { event = JSON.parse(e.data); } catch { /* what happened is not told, but that it did is */ }
      document.dispatchEvent(new CustomEvent('mesh', { detail: { kind, event } }));
      refresh(50);
    });
  }
  source.addEventListener('open', () => { show(); refresh(); }); // what came between the page and the stream
  source.addEventListener('error', () => {
    if (source?.readyState === EventSource.CLOSED) { // it will not try again by itself
      source = null;
      setTimeout(() => { if (!document.hidden) listen(); }, 10_000);
    }
    show();
    refresh();
  });
}

export function start() {
  if (!address) return;
  listen();
  setInterval(show, 1_000);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      source?.close();
      source = null;
      clearTimeout(timer);
    } else {
      listen();
      refresh();
    }
  });
  if (!events) refresh(every);
  show();
}
