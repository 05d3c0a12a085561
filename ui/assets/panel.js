'use strict';
// The box as a live picture: lamp, screen, button, and the link that feeds them.
// It tells the page what it hears, and what its button did, by events on the
// document: sekisho:panel, :change, :link and :press.
(() => {
  const $ = (id) => document.getElementById(id);
  const tell = (event, detail) => document.dispatchEvent(new CustomEvent('sekisho:' + event, {detail}));
  const knob = $('knob'), hint = $('knobhint'), about = hint.textContent;
  const time = (name) => Number(knob.dataset[name]);

  // The lamp: the same rhythm as on the box. Without motion: its first light, and
  // the words beside it tell the rhythm.
  const still = matchMedia('(prefers-reduced-motion: reduce)');
  let rhythm = [], timer = 0;
  const paint = (color) => {
    const lit = color && color !== '#000000';
    $('lamp').style.background = lit ? color : '';
    $('lamp').style.boxShadow = lit ? `0 0 18px 5px ${color}` : '';
  };
  function play() {
    clearTimeout(timer);
    if (still.matches || rhythm.length < 2) {
      paint((rhythm.find((s) => s.color !== '#000000') || {}).color);
      return;
    }
    let i = 0;
    const step = () => {
      const s = rhythm[i++ % rhythm.length];
      paint(s.color);
      timer = setTimeout(step, s.ms);
    };
    step();
  }
  function lamp(pattern) {
    if (JSON.stringify(pattern) === JSON.stringify(rhythm)) return;
    rhythm = pattern;
    play();
  }
  still.addEventListener('change', play);

  // What the screen names, and since when: a press is for what was shown before
  // the finger came down, never for what has just appeared under it.
  let named = [{at: 0, target: $('press').dataset.target, approval: $('approve').dataset.id}];
  const seen = (at) => named.findLast((n) => n.at <= at - time('reaction')) || {target: '', approval: ''};

  let locked = !!$('rare').hidden, spoken = '';
  function show(p) {
    const now = performance.now(), last = named[named.length - 1];
    const approval = p.approval_id || '';
    if (last.target !== p.target || last.approval !== approval) named = [...named.slice(-31), {at: now, target: p.target, approval}];
    locked = p.lockdown;
    const text = p.lines.join(' ');
    const key = [p.state, p.target, p.lockdown, p.asked_until || ''].join();
    if (key !== spoken) { // a clock that is read out every minute helps nobody
      $('lines').textContent = text;
      $('lines').lang = p.lang;
      spoken = key;
    }
    $('screen').src = 'data:image/png;base64,' + p.image;
    $('screen').alt = text;
    $('screen').lang = p.lang;
    $('lampwords').textContent = p.lamp_words;
    lamp(p.lamp);
  }

  // A finger on a button: tick with how long it has been there, end with that, or
  // without when it slipped off or nobody looks any more.
  function finger(button, tick, end) {
    let since = 0, beat = 0, ended = -Infinity;
    const down = () => {
      if (since || button.disabled) return;
      since = performance.now();
      beat = setInterval(() => tick(performance.now() - since), 50);
      tick(0);
    };
    const up = (counts) => {
      if (!since) return;
      const held = performance.now() - since, from = since;
      clearInterval(beat);
      since = 0;
      ended = performance.now();
      end(counts ? held : undefined, from);
    };
    const key = (e) => e.key === ' ' || e.key === 'Enter';
    button.addEventListener('pointerdown', (e) => { if (e.button === 0) down(); });
    button.addEventListener('pointerup', () => up(true));
    for (const e of ['pointerleave', 'pointercancel', 'blur']) button.addEventListener(e, () => up(false));
    document.addEventListener('visibilitychange', () => { if (document.hidden) up(false); });
    button.addEventListener('keydown', (e) => { if (key(e)) { e.preventDefault(); down(); } });
    button.addEventListener('keyup', (e) => { if (key(e)) { e.preventDefault(); up(true); } });
    button.addEventListener('contextmenu', (e) => e.preventDefault());
    button.addEventListener('click', () => { // by a screen reader, which knows no finger
      if (performance.now() - ended > 500) end(0, performance.now());
    });
  }

  const seconds = (text, held) => text.replace('{n}', Math.max(1, Math.ceil((time('long') - held) / 1000)));

  // The button of the picture: its ring fills up to a lockdown, and what letting go
  // would do is said all the time.
  let press = seen(0);
  finger(knob, (held) => {
    if (held === 0) press = seen(performance.now());
    const say = knob.dataset;
    let phase = 'press', text = held < 700 ? about : say.sayPress;
    if (held >= time('stuck')) [phase, text] = ['none', say.sayStuck];
    else if (held >= time('count') && locked) [phase, text] = ['none', say.sayLocked];
    else if (held >= time('long')) [phase, text] = ['lockdown', say.sayLockdown];
    else if (held >= time('count')) [phase, text] = ['cancel', seconds(say.sayCancel, held)];
    else if (held >= time('approve') && press.approval) [phase, text] = ['allow', say.sayAllow];
    knob.dataset.phase = phase;
    knob.style.setProperty('--held', Math.min(held / time('long'), 1));
    if (hint.textContent !== text) hint.textContent = text;
  }, (held, from) => {
    delete knob.dataset.phase;
    knob.style.removeProperty('--held');
    hint.textContent = about;
    if (held === 0) press = seen(from);
    if (held === undefined || held >= time('stuck') || (held >= time('count') && (held < time('long') || locked))) return;
    if (held >= time('long')) tell('press', {gesture: 'hold8', target: press.target});
    else if (held >= time('approve') && press.approval) tell('press', {gesture: 'hold3', target: press.approval});
    else tell('press', {gesture: 'short', target: press.target});
  });

  // The lockdown's own button, which only counts down.
  const hold = $('hold8'), hold8 = $('hold8hint'), rule = hold8.textContent;
  finger(hold, (held) => {
    hold8.textContent = held >= time('stuck') ? knob.dataset.sayStuck : held >= time('long') ? knob.dataset.sayLockdown : seconds(knob.dataset.sayCancel, held);
  }, (held) => {
    hold8.textContent = rule;
    if (held >= time('long') && held < time('stuck')) tell('press', {gesture: 'hold8', target: seen(performance.now()).target});
  });

  // The link to the box. A browser gives up for good when the box answers with an
  // error, and does not notice that a network is gone; so both are looked after
  // here. The box's beat is 15 s.
  let link, heard = 0, wait = 1000, again = 0;
  const state = (up) => {
    document.body.dataset.link = up ? 'up' : 'lost';
    knob.disabled = !up;
    if (!up) { // an old picture would be believed
      clearTimeout(timer);
      rhythm = [];
      paint();
    }
    tell('link', up);
  };
  function open() {
    clearTimeout(again);
    if (link) link.close();
    heard = performance.now();
    link = new EventSource('/api/events');
    const hear = (event, f) => link.addEventListener(event, (e) => { heard = performance.now(); f(e); });
    hear('open', () => { wait = 1000; state(true); });
    hear('panel', (e) => { const p = JSON.parse(e.data); show(p); tell('panel', p); });
    hear('change', () => tell('change'));
    hear('beat', () => {});
    link.addEventListener('error', lost);
  }
  function lost() {
    link.close();
    state(false);
    clearTimeout(again);
    again = setTimeout(open, wait);
    wait = Math.min(wait * 2, 8000);
  }
  setInterval(() => { if (link.readyState !== EventSource.CLOSED && performance.now() - heard > 40000) lost(); }, 5000);
  for (const e of ['online', 'pageshow']) addEventListener(e, () => { if (link.readyState === EventSource.CLOSED) open(); });
  document.addEventListener('visibilitychange', () => { if (!document.hidden && link.readyState === EventSource.CLOSED) open(); });
  open();
})();
