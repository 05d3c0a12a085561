'use strict';
// The way back to the network: one card per device, signed with one name.
(() => {
  const words = document.body.dataset;
  const remembered = 'sekisho_name'; // for this session of the browser only
  const part = document.getElementById('part-return');

  // The part is replaced after every change: the name is put back. As the
  // default value it does not count as something being typed.
  function fill() {
    for (const f of part.querySelectorAll('.whoami')) {
      if (f === document.activeElement) continue;
      f.defaultValue = f.value = sessionStorage.getItem(remembered) || f.value;
    }
  }
  new MutationObserver(fill).observe(part, {childList: true});
  function remember(f) {
    sessionStorage.setItem(remembered, f.value.trim());
    f.defaultValue = f.value;
    fill();
  }
  part.addEventListener('change', (e) => { if (e.target.matches('.whoami')) remember(e.target); });
  fill();

  function signed(card) {
    const f = card.querySelector('.whoami');
    const name = f.value.trim();
    if (!name) {
      card.querySelector('.said').textContent = words.sign;
      f.focus();
    } else remember(f);
    return name;
  }

  async function step(card, deed, body) {
    const by = signed(card), said = card.querySelector('.said');
    if (!by) return false;
    said.textContent = '';
    try {
      const answer = await fetch(`/api/incidents/${encodeURIComponent(card.dataset.id)}/${deed}`,
        {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({by, ...body})});
      const data = await answer.json();
      said.textContent = answer.ok ? words.sent : data.error.message;
      if (answer.ok && deed === 'undo' && data.guard === 'ask_twice' && data.state === 'probation') alert(words.twice);
      return answer.ok;
    } catch {
      said.textContent = document.getElementById('offline').textContent;
      return false;
    }
  }
  const sure = (button) => confirm(button.textContent + '\n' + words.confirm);

  // The form is emptied before the page is drawn anew: what is being typed is
  // never replaced.
  async function submit(form, button, deed, body) {
    button.disabled = true;
    const note = form.elements.note, text = note ? note.value : '';
    if (note) note.value = note.defaultValue;
    button.blur();
    if (!await step(form.closest('.back'), deed, {...body, ...(note ? {note: text.trim()} : {})}) && note) note.value = text;
    button.disabled = false;
  }
  document.addEventListener('submit', (e) => {
    const form = e.target.closest('.back form');
    if (!form) return;
    e.preventDefault();
    const button = e.submitter || form.querySelector('button');
    if (form.matches('.release')) { if (sure(button)) submit(form, button, 'release', {}); }
    else if (form.matches('.next')) submit(form, button, 'tick', {item: form.dataset.item});
    else if (form.matches('.level')) { if (sure(button)) submit(form, button, form.dataset.deed, {}); }
    else if (form.matches('.undo')) { if (sure(button)) submit(form, button, 'undo', {}); }
  });
  document.addEventListener('change', async (e) => {
    const box = e.target;
    if (!box.matches('.back .tick')) return;
    if (!box.checked && !confirm(words.untick)) { box.checked = true; return; }
    if (!await step(box.closest('.back'), box.checked ? 'tick' : 'untick', {item: box.dataset.item})) box.checked = !box.checked;
  });
})();
