'use strict';

// ---- small helpers -----------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${Math.round(count / 1e3)} KB`;
  return `${(count / 1e6).toFixed(1).replace('.0', '')} MB`;
}

// Limits of memory are given in powers of two.
function memory(count) {
  if (count === null || count === undefined) return '–';
  const mib = count / (1 << 20);
  return mib >= 1024 ? `${(mib / 1024).toFixed(1).replace('.0', '')} GiB` : `${mib.toFixed(mib < 10 ? 1 : 0)} MiB`;
}

// A duration as the service serialises it.
const inSeconds = ({ secs, nanos }) => secs + nanos / 1e9;

function seconds(value) {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 10 ? `${value.toFixed(1).replace('.0', '')} s` : uptime(value);
}

function milliseconds(value) {
  if (value === null || value === undefined) return ['–', ''];
  if (value >= 1000) return [(value / 1000).toFixed(value >= 10000 ? 0 : 1), 's'];
  return [value >= 10 ? Math.round(value) : value.toFixed(value >= 1 ? 1 : 2), 'ms'];
}

function count(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return String(Math.round(value));
}

// The last half minute of a number, as a line.
const LENGTH = 60;
class Spark {
  constructor() {
    this.values = [];
    this.svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    this.svg.setAttribute('class', 'spark');
    this.svg.setAttribute('viewBox', `0 0 ${LENGTH - 1} 30`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('aria-hidden', 'true');
    this.area = this.svg.appendChild(document.createElementNS(this.svg.namespaceURI, 'polygon'));
    this.line = this.svg.appendChild(document.createElementNS(this.svg.namespaceURI, 'polyline'));
  }
  push(value) {
    this.values.push(value ?? 0);
    if (this.values.length > LENGTH) this.values.shift();
    const top = Math.max(...this.values, 1e-9);
    const start = LENGTH - this.values.length;
    const points = this.values.map((v, i) => `${start + i},${(28 - 25 * v / top).toFixed(1)}`);
    this.line.setAttribute('points', points.join(' '));
    this.area.setAttribute('points', `${start},30 ${points.join(' ')} ${LENGTH - 1},30`);
  }
}

// ---- uploading ---------------------------------------------------------------------------------

let maxBody = Infinity;
let lastFile = null;
let shownUrl = null;

function problem(sentence) {
  $('problem').textContent = sentence ?? '';
  $('problem').hidden = !sentence;
}

// Sends a picture; gives the response, or throws an error whose message is a sentence.
async function send(file) {
  if (file.size > maxBody) {
    throw new Error(`The picture is too large: it has ${bytes(file.size)}, at most ${bytes(maxBody)} are taken.`);
  }
  const executor = document.querySelector('input[name=executor]:checked').value;
  const query = new URLSearchParams({ width: $('width').value, executor });
  let response;
  try {
    response = await fetch(`/thumbnails?${query}`, {
      method: 'POST',
      body: file,
      headers: { 'content-type': file.type || 'application/octet-stream' },
    });
  } catch {
    throw new Error('The service can’t be reached, or it hung up.');
  }
  if (!response.ok) throw new Error(await sentenceOf(response));
  return response;
}

async function sentenceOf(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The service answered ${response.status} without saying why.`;
  }
}

async function show(file) {
  lastFile = file;
  problem(null);
  $('drop').classList.add('busy');
  const since = performance.now();
  try {
    const response = await send(file);
    const picture = await response.blob();
    const [took, unit] = milliseconds(performance.now() - since);
    if (shownUrl) URL.revokeObjectURL(shownUrl);
    shownUrl = URL.createObjectURL(picture);
    const image = $('thumbnail');
    image.src = shownUrl;
    await image.decode();
    $('save').href = shownUrl;
    const original = (response.headers.get('x-original-size') ?? '').replace('x', ' × ');
    $('caption').textContent =
      `${original}, ${bytes(file.size)} → ${image.naturalWidth} × ${image.naturalHeight}, ` +
      `${bytes(picture.size)} in ${took}\u00a0${unit}`;
    $('result').hidden = false;
  } catch (error) {
    $('result').hidden = true;
    problem(error.message);
  } finally {
    $('drop').classList.remove('busy');
    $('file').value = '';
  }
}

// Four at a time: a browser opens six connections, one carries the events, and one is to stay free
// for the look at /healthz.
async function sendManyTimes() {
  if (!lastFile) return;
  problem(null);
  $('again').disabled = true;
  let left = 50;
  const sentences = [];
  const sender = async () => {
    while (left-- > 0) {
      try {
        await (await send(lastFile)).blob();
      } catch (error) {
        sentences.push(error.message);
      }
    }
  };
  await Promise.all([sender(), sender(), sender(), sender()]);
  if (sentences.length > 0) problem(`${sentences.length} of 50 were not made. ${sentences[0]}`);
  $('again').disabled = false;
}

$('file').addEventListener('change', () => $('file').files[0] && show($('file').files[0]));
$('again').addEventListener('click', sendManyTimes);
for (const name of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  // On the whole window, so that a picture dropped beside the field does not replace the page.
  window.addEventListener(name, (event) => {
    event.preventDefault();
    $('drop').classList.toggle('over', name === 'dragenter' || name === 'dragover');
    const file = name === 'drop' && event.dataTransfer.files[0];
    if (file) show(file);
  });
}
window.addEventListener('paste', (event) => {
  const file = event.clipboardData.files[0];
  if (file) show(file);
});

// ---- faults ------------------------------------------------------------------------------------

const FAULTS = ['segfault', 'abort', 'stack-overflow', 'memory', 'cpu-hog', 'hang', 'network', 'panic', 'exit'];
for (const name of FAULTS) {
  const button = element('button', '', name.replace('-', ' '));
  button.type = 'button';
  button.addEventListener('click', () => breakBy(name));
  $('fault-buttons').append(button);
}

async function breakBy(name) {
  const entry = element('li', '', `${name.replace('-', ' ')}: waiting for its end…`);
  $('fault-log').prepend(entry);
  while ($('fault-log').children.length > 6) $('fault-log').lastChild.remove();
  try {
    const response = await fetch(`/faults/${name}`, { method: 'POST' });
    const told = await response.json();
    entry.replaceChildren(element('b', '', told.cause ?? String(response.status)), ` ${told.error}`);
  } catch {
    entry.textContent = 'The service can’t be reached, or it hung up.';
  }
}

// ---- the live view -----------------------------------------------------------------------------

function tile(title) {
  const box = element('article', 'tile');
  const value = element('div', 'value', '–');
  const note = element('div', 'note');
  const spark = new Spark();
  box.append(element('h3', '', title), value, note, spark.svg);
  $('tiles').append(box);
  return (number, unit, text, sample) => {
    value.textContent = number;
    value.append(element('small', '', unit ? ` ${unit}` : ''));
    note.textContent = text;
    spark.push(sample);
  };
}

const tiles = {
  rate: tile('Answers'),
  thumbnails: tile('Thumbnails, p99'),
  health: tile('This page to /healthz'),
  jobs: tile('Jobs at work'),
};

const pools = new Map();
function poolView(name) {
  const box = element('div', 'pool');
  const view = {
    cells: element('div', 'cells'),
    waiting: element('div', 'waiting'),
    bar: element('div', 'bar'),
    over: element('div', 'over'),
  };
  view.fill = view.bar.appendChild(element('i'));
  box.append(element('div', 'name', name), view.cells, view.waiting, view.bar, view.over);
  $('pools').append(box);
  pools.set(name, view);
  return view;
}

function showPool(pool, limit) {
  const view = pools.get(pool.name) ?? poolView(pool.name);
  // Threads are started when they are needed: show at least those that work.
  const places = Math.min(Math.max(pool.workers, pool.running), 64);
  const cells = Array.from({ length: places }, (_, i) => element('span', i < pool.running ? 'cell on' : 'cell'));
  const busy = places === 0 ? 'none started' : `${pool.running} of ${pool.workers} at work`;
  view.cells.replaceChildren(...cells, element('span', 'busy', busy));
  view.waiting.textContent = `${pool.waiting} waiting`;
  view.fill.style.width = `${Math.min(100, 100 * pool.waiting / limit)}%`;
  view.bar.classList.toggle('full', pool.waiting >= limit);
  const outcomes = [
    ['finished', pool.finished], ['crashed', pool.crashed, 1], ['timed out', pool.timed_out, 1],
    ['failed', pool.failed, 1], ['cancelled', pool.cancelled],
  ];
  view.over.replaceChildren(...outcomes.filter(([name, n]) => n > 0 || name === 'finished').map(([name, n, bad]) => {
    const part = element('span', bad ? 'bad' : '');
    part.append(element('b', '', count(n)), ` ${name}`);
    return part;
  }));
}

// ---- worker processes --------------------------------------------------------------------------

const workers = new Map();
function workersView(name) {
  const box = element('div');
  const view = { facts: element('div', 'facts'), rows: element('tbody') };
  const head = element('tr');
  head.append(...['process', '', 'job', 'done', 'memory', 'age'].map((title) => element('th', '', title)));
  const table = element('table');
  table.append(element('thead'), view.rows);
  table.tHead.append(head);
  const scroll = element('div', 'scroll');
  scroll.append(table);
  box.append(element('h3', '', name), view.facts, scroll);
  $('workers').append(box);
  workers.set(name, view);
  return view;
}

// What holds a pool's workers in: what was asked for, then what the kernel has agreed to.
function factsOf({ profile, enforced, snapshot }) {
  const facts = [[`${profile.sandbox} sandbox: a denied call ${profile.kills_on_denial ? 'kills' : 'fails'}`]];
  if (profile.memory_limit) facts.push([`${memory(profile.memory_limit)} of address space`]);
  if (profile.rss_limit) facts.push([`${memory(profile.rss_limit)} of memory`]);
  if (profile.cpu_limit) facts.push([`${seconds(profile.cpu_limit)} of processor time a job`]);
  if (profile.job_timeout) facts.push([`${seconds(profile.job_timeout)} a job`]);
  if (enforced) {
    const held = [
      enforced.seccomp && 'seccomp', enforced.landlock_abi && `Landlock ${enforced.landlock_abi}`,
      enforced.no_new_privs && 'no new privileges',
    ].filter(Boolean);
    if (held.length > 0) facts.push([`enforced: ${held.join(', ')}`, 'good']);
    for (const what of enforced.missing) facts.push([`not enforced: ${what}`, 'bad']);
  }
  if (snapshot.starts.is_open) facts.push([`workers don’t start: ${snapshot.starts.last_error}`, 'bad']);
  if (snapshot.recycled > 0) facts.push([`${count(snapshot.recycled)} replaced`]);
  return facts.map(([text, kind]) => element('span', `fact ${kind ?? ''}`, text));
}

function workerRow(worker, cap) {
  const row = element('tr');
  const phase = worker.phase.toLowerCase();
  const used = element('td', '', memory(worker.resident_memory));
  if (cap && worker.resident_memory) {
    const bar = element('span', 'bar');
    bar.append(element('i'));
    bar.firstChild.style.width = `${Math.min(100, 100 * worker.resident_memory / cap)}%`;
    used.append(bar);
  }
  const job = worker.job ? `${worker.job.name}, ${seconds(inSeconds(worker.job.running_for))}` : '';
  row.append(
    element('td', '', String(worker.pid)), element('td', `phase ${phase}`, phase), element('td', '', job),
    element('td', '', count(worker.jobs)), used, element('td', '', uptime(inSeconds(worker.uptime))),
  );
  return row;
}

function showWorkers(pool) {
  const view = workers.get(pool.name) ?? workersView(pool.name);
  view.facts.replaceChildren(...factsOf(pool));
  const cap = pool.profile.rss_limit ?? pool.profile.memory_limit;
  const rows = pool.snapshot.workers.map((worker) => workerRow(worker, cap));
  if (rows.length === 0) {
    const none = element('td', 'none', 'none yet: they come with the first job');
    none.colSpan = 6;
    rows.push(element('tr'));
    rows[0].append(none);
  }
  view.rows.replaceChildren(...rows);
}

// ---- jobs --------------------------------------------------------------------------------------

// Entries stay as long as their jobs, so that a button is not replaced under a finger.
const jobs = new Map();
function jobView(job, mayCancel) {
  const box = element('li');
  const view = { box, text: element('span', 'dim') };
  box.append(element('b', '', job.name), view.text);
  if (mayCancel) {
    const button = box.appendChild(element('button', '', 'Cancel'));
    button.type = 'button';
    button.addEventListener('click', () => cancelJob(job.id, button));
  }
  $('jobs').append(box);
  jobs.set(job.id, view);
  return view;
}

async function cancelJob(id, button) {
  button.disabled = true;
  try {
    const response = await fetch(`/jobs/${id}`, { method: 'DELETE' });
    const gone = response.ok || response.status === 404;
    const sentence = gone ? '' : await sentenceOf(response);
    $('jobs-problem').textContent = sentence;
    $('jobs-problem').hidden = gone;
  } catch {
    button.disabled = false;
  }
}

function showJobs(now) {
  const there = new Set(now.jobs.map((job) => job.id));
  for (const [id, view] of jobs) {
    if (there.has(id)) continue;
    view.box.remove();
    jobs.delete(id);
  }
  // A crowd of them is not to push everything else from the page.
  for (const job of now.jobs.slice(0, 12)) {
    const view = jobs.get(job.id) ?? jobView(job, now.faults);
    const what = job.running ? 'runs' : 'waits';
    view.text.textContent = `${job.pool}, ${what}, ${seconds(job.seconds)}`;
  }
  $('no-jobs').hidden = now.jobs.length > 0;
}

// ---- crash reports -----------------------------------------------------------------------------

const SIGNALS = {
  4: 'SIGILL', 6: 'SIGABRT', 7: 'SIGBUS', 8: 'SIGFPE', 9: 'SIGKILL', 11: 'SIGSEGV', 15: 'SIGTERM',
  24: 'SIGXCPU', 31: 'SIGSYS',
};

let crashesSeen = 0;
async function showCrashes(number, isNewService) {
  if (isNewService) {
    crashesSeen = 0;
    $('crashes').replaceChildren();
    $('no-crashes').hidden = false;
  }
  // How many there were tells whether there are new ones to ask for.
  if (number === crashesSeen) return;
  const seenBefore = crashesSeen;
  crashesSeen = number;
  try {
    const crashes = await (await fetch('/crashes')).json();
    const shown = new Set([...$('crashes').children].map((entry) => Number(entry.dataset.number)));
    const fresh = crashes.filter((crash) => !shown.has(crash.number));
    $('crashes').prepend(...fresh.map(crashView));
    while ($('crashes').children.length > 16) $('crashes').lastChild.remove();
    $('no-crashes').hidden = $('crashes').children.length > 0;
  } catch {
    crashesSeen = seenBefore;
  }
}

function crashView(crash) {
  const { report } = crash;
  const entry = element('li');
  entry.dataset.number = crash.number;
  const details = entry.appendChild(element('details'));
  const summary = details.appendChild(element('summary'));
  summary.append(
    element('b', '', crash.cause), ` ${crash.sentence} `,
    element('span', 'dim', `· ${crash.job} in ${crash.pool}, ${new Date(crash.at * 1000).toLocaleTimeString()}`),
  );
  const end = report.signal === null ? `code ${report.exit_code ?? 'unknown'}` :
    `${SIGNALS[report.signal] ?? 'signal'} (${report.signal})${report.core_dumped ? ', core dumped' : ''}`;
  const syscall = report.cause.SandboxDenied?.syscall;
  const list = details.appendChild(element('dl'));
  for (const [name, value] of [
    ['process', report.pid], ['end', end], ...(syscall ? [['denied call', syscall]] : []),
    ['attempt', report.attempt], ['most memory', memory(report.peak_memory)],
    ['processor time', seconds(inSeconds(report.cpu_time))], ['age', seconds(inSeconds(report.uptime))],
  ]) {
    const pair = element('div');
    pair.append(element('dt', '', name), element('dd', '', String(value)));
    list.append(pair);
  }
  if (report.stderr_tail) details.append(element('pre', '', report.stderr_tail));
  return entry;
}

// ---- event loops -------------------------------------------------------------------------------

const loops = [];
function loopView(index) {
  const box = element('div', 'loop');
  const view = { rate: element('span'), line: element('p'), spark: new Spark() };
  const title = element('h3', '', `loop ${index}`);
  title.append(view.rate);
  box.append(title, view.line, view.spark.svg);
  $('loops').append(box);
  loops.push(view);
  return view;
}

let before = null;
let roundTrip = null;

function showAll(now) {
  // Rates are differences; over a broken connection, or after a restart, there are none.
  const seconds = before && now.uptime > before.uptime ? now.uptime - before.uptime : null;
  const rate = (current, earlier) => seconds === null ? 0 : (current - earlier) / seconds;

  maxBody = now.max_body;
  $('max-body').textContent = `, up to ${bytes(now.max_body)}`;
  $('faults').hidden = !now.faults;

  const answers = rate(now.answered, before?.answered);
  tiles.rate(count(answers), '/ s', `${now.in_flight} in flight, ${now.connections} connections`, answers);
  const made = now.latency.thumbnails;
  const [p50, u50] = milliseconds(made.p50);
  const note = made.count ? `half within ${p50} ${u50}` : 'none in the last 10 s';
  tiles.thumbnails(...milliseconds(made.p99), note, made.p99);
  const health = now.latency.healthz;
  const [p99, u99] = milliseconds(health.p99);
  tiles.health(...milliseconds(roundTrip), health.count ? `p99 inside ${p99} ${u99}` : '', roundTrip);
  const running = now.pools.reduce((sum, pool) => sum + pool.running, 0);
  const waiting = now.pools.reduce((sum, pool) => sum + pool.waiting, 0);
  tiles.jobs(running, '', `${waiting} waiting`, running + waiting);

  for (const pool of now.pools) showPool(pool, now.queue_limit);
  const failures = Object.entries(now.failures).map(([cause, n]) => element('span', 'chip', `${cause} ${n}`));
  $('failures').replaceChildren(...failures);
  for (const pool of now.workers) showWorkers(pool);
  showJobs(now);
  showCrashes(now.crashes, before !== null && now.uptime < before.uptime);

  now.loops.forEach((loop, index) => {
    const view = loops[index] ?? loopView(index);
    const polls = rate(loop.polls, before?.loops[index]?.polls);
    view.rate.textContent = `${count(polls)} polls / s`;
    view.line.textContent =
      `${loop.queued} queued · ${loop.timers} timers · ${loop.sources} sockets · ${count(loop.steals)} stolen`;
    view.spark.push(polls);
  });
  before = now;
}

function uptime(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

const events = new EventSource('/events');
events.addEventListener('message', (event) => {
  const now = JSON.parse(event.data);
  showAll(now);
  $('link').className = 'link live';
  $('link-text').textContent = `up for ${uptime(now.uptime)}`;
});
events.addEventListener('error', () => {
  $('link').className = 'link lost';
  $('link-text').textContent = 'the service is gone, trying again…';
});

// How long an answer takes that needs no pool: it shows whether the loops are held up.
setInterval(async () => {
  if (document.hidden) return;
  const since = performance.now();
  try {
    await fetch('/healthz');
    roundTrip = performance.now() - since;
  } catch {
    roundTrip = null;
  }
}, 1000);
