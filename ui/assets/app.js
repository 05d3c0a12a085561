'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const words = document.body.dataset;
  let target = $('press').dataset.target; // that the big button names
  let approval = $('approve').dataset.id;

  let state = '', asked = 0, begun = '';
  function show(p) {
    $('press').dataset.target = p.target;
    if (p.target) $('press').disabled = false; // at once: never wait for the words
    const key = [p.state, p.target, p.lockdown, p.asked_until || ''].join();
    if (key !== state) {
      document.body.dataset.state = p.state;
      state = key;
      refresh();
    }
    $('approve').hidden = !p.approval;
    approval = p.approval_id || '';
    $('rare').hidden = p.lockdown;
  }

  // Replace what has changed, and leave alone what the person is using.
  async function refresh() {
    const mine = ++asked;
    try {
      const answer = await fetch('/parts');
      if (!answer.ok || mine !== asked) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const deed = fresh.getElementById('deed');
      $('press').textContent = deed.textContent;
      target = deed.dataset.target;
      $('press').disabled = !!deed.dataset.idle && !$('press').dataset.target;
      for (const part of fresh.querySelectorAll('[id^=part-]')) {
        const old = $(part.id);
        if (!old || old.innerHTML === part.innerHTML || busy(old)) continue;
        const open = [...old.querySelectorAll('details[open]')].map((d) => d.id);
        const once = old.querySelector('.once:not([hidden])')?.closest('details'); // shown only this once: it stays
        if (once) part.querySelector('#' + once.id)?.replaceWith(once);
        old.replaceChildren(...part.childNodes);
        for (const id of open) if ($(id)) $(id).open = true;
        if (part.id === begun) { // it is elsewhere on the page than the button was
          begun = '';
          old.scrollIntoView();
        }
      }
    } catch { /* the link says that we are offline */ }
  }
  function busy(part) {
    if (part.contains(document.activeElement) && document.activeElement.matches('input,textarea:not([readonly]),select')) return true;
    if ([...part.querySelectorAll('select')].some((s) => s.selectedIndex > 0)) return true;
    return [...part.querySelectorAll('input:not([type=checkbox]),textarea')].some((f) => f.value !== f.defaultValue);
  }

  // A question with what the deed would stop for others.
  const asks = (text, button) => button?.dataset.impact ? text + '\n' + button.dataset.impact : text;

  // The first of two asks was taken, and nothing is stopped yet.
  const askedOnce = (path, data) => /\/(isolate|limit)$/.test(path) && data.guard === 'ask_twice' && !['containing', 'contained'].includes(data.state);

  async function send(path, body, said, whole) {
    said.textContent = '';
    try {
      const answer = await fetch(path, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});
      const data = await answer.json();
      const once = answer.ok && askedOnce(path, data);
      said.textContent = answer.ok ? words.sent : data.error.message;
      if (once) alert(asks(words.twice, said.closest('form').querySelector('[data-impact]'))); // the form goes away with the next refresh
      return whole && answer.ok ? data : answer.ok;
    } catch {
      said.textContent = $('offline').textContent;
      return false;
    }
  }
  const press = (gesture, on) => send('/api/press', {gesture, target: on}, $('said'));

  // What was on the screen when the finger came down counts.
  function presses(id, gesture, shown) {
    let seen = shown();
    $(id).addEventListener('pointerdown', () => { seen = shown(); });
    $(id).addEventListener('keydown', (e) => { if (!e.repeat) seen = shown(); });
    $(id).addEventListener('click', () => press(gesture, seen));
  }
  presses('press', 'short', () => target);
  presses('approve', 'hold3', () => approval);

  async function unlock(form) {
    const button = form.querySelector('button');
    if (!confirm(button.textContent + '\n' + words.confirm)) return;
    if (await send('/api/lockdown', {on: false, by: new FormData(form).get('by')}, form.querySelector('.said'))) {
      form.reset();
      refresh();
    }
  }
  async function rename(form) {
    const name = form.elements.name;
    if (await send('/api/devices/' + encodeURIComponent(form.dataset.id), {name: name.value}, form.querySelector('.said'))) {
      name.defaultValue = name.value;
      form.closest('details').open = false;
      document.activeElement.blur();
      refresh();
    }
  }
  // Forms that say where they go: the button's name is the question.
  async function act(form, button) {
    const deed = button.dataset.name ? button.dataset.name + ': ' + button.textContent : button.textContent;
    if (!confirm(asks(deed, button) + '\n' + words.confirm)) return;
    const body = {};
    for (const [key, value] of new FormData(form)) body[key] = key === 'minutes' ? Number(value) : value;
    if (button.dataset.on) body.on = button.dataset.on === 'true';
    if (button.dataset.with) body.kin = {with: button.dataset.with, same: button.dataset.same === 'true'};
    const said = form.querySelector('.said'), shown = form.querySelector('.once');
    begun = button.dataset.then || '';
    button.disabled = true;
    const waiting = setTimeout(() => { said.textContent = words.wait; }, 700);
    const data = await send(button.dataset.path, body, said, true);
    clearTimeout(waiting);
    button.disabled = false;
    if (!data) {
      begun = '';
      return;
    }
    if (data.said) alert(data.said); // the form goes away with the next refresh
    if (shown && data.text) {
      shown.hidden = false;
      shown.querySelector('textarea').defaultValue = data.text;
    }
    if (!askedOnce(button.dataset.path, data)) form.reset(); // else it is sent once more
    button.blur();
    refresh();
  }
  document.addEventListener('submit', async (e) => {
    if (e.target.matches('form.take')) { // the browser sends it; afterwards the part may be refreshed again
      setTimeout(() => { e.target.reset(); e.submitter.blur(); });
      return;
    }
    const form = e.target.closest('form.deed,form.unlock,form.rename,form.act');
    if (!form) return;
    e.preventDefault();
    if (form.matches('.act')) return act(form, e.submitter);
    if (form.matches('.unlock')) return unlock(form);
    if (form.matches('.rename')) return rename(form);
    if (!confirm(asks(e.submitter.textContent, e.submitter) + '\n' + words.confirm)) return;
    const data = new FormData(form);
    const path = `/api/incidents/${encodeURIComponent(form.dataset.id)}/${e.submitter.value}`;
    if (await send(path, {by: data.get('by'), note: data.get('note')}, form.querySelector('.said'))) {
      form.reset();
      e.submitter.blur();
      refresh();
    }
  });
  document.addEventListener('change', async (e) => {
    if (!e.target.matches('.protect')) return;
    const ok = await send('/api/devices/' + encodeURIComponent(e.target.dataset.id), {protected: e.target.checked}, $('said'));
    if (!ok) e.target.checked = !e.target.checked;
  });

  // What panel.js hears of the box, and what its button did.
  const on = (event, f) => document.addEventListener('sekisho:' + event, (e) => f(e.detail));
  on('panel', show);
  on('change', refresh);
  on('link', (up) => { $('offline').hidden = up; if (up) refresh(); });
  on('press', (p) => press(p.gesture, p.target));
})();
