// The console's one entry: it starts what the page has. Nothing here is needed to read
// a page; see the comment of package console.

import * as live from '/assets/live.js';
import * as map from '/assets/map.js';
import * as queue from '/assets/queue.js';

const { page } = document.body.dataset;
if (page === 'map') map.start();
if (page === 'queue' && document.getElementById('bulk')) queue.start();
document.addEventListener('click', (e) => { // what cannot be undone is asked for once more
  const ask = e.target.closest?.('[data-confirm]')?.dataset.confirm;
  if (ask && !window.confirm(ask)) e.preventDefault();
});
live.start();
