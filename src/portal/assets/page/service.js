// --- one service

function detail(place, name) {
  const head = el('div')
  const buttons = el('div', { class: 'row' })
  const said = el('div', { role: 'status' })
  const inside = el('div')
  let seen = null
  let looks = 0
  let closed = false
  let busy = false
  let planned = ''
  const connect = opened('Connect: user, password, snippets', 'connect', box => { if (!box.firstChild) connecting(box, name) })
  const graph = opened('Dependencies', 'graph', box => needsDrawn(box, name))
  const plan = opened('What an up would do', 'plan', box => planning(box, name))
  const events = opened('Events', 'events', box => happened(box, name))
  const parts = el('div', { hidden: true }, connect.part, graph.part, plan.part, events.part)
  const log = el('div')
  place.append(el('p', {}, el('a', { href: '#/' }, 'All services')), el('h2', {}, name), head, buttons, said, inside, parts, log)
  let logs = null

  async function look() {
    const turn = ++looks
    const answer = await ask('/api/service?' + query({ service: name }))
    if (closed || turn !== looks) return
    put(inside, answer, () => {
      if (!answer || answer.error) return answer ? trouble(answer.error) : el('p', { class: 'soft' }, program() ? 'A program of this machine, started by macula run.' : 'It has no container.')
      const names = list => list.length ? el('div', { class: 'needs' }, list.map(one => el('span', {}, service(one.name), ' ', badge(one.state === 'down' ? 'bad' : 'good', { running: 'runs', done: 'done' }[one.state] || 'does not run')))) : el('span', { class: 'soft' }, 'nothing')
      return el('div', { class: 'card' }, el('dl', {},
        el('dt', {}, 'Needs'), el('dd', {}, names(answer.needs)), el('dt', {}, 'Needed by'), el('dd', {}, names(answer.needed_by)),
        answer.containers.map(one => [el('dt', {}, 'Container'), el('dd', {}, el('code', {}, one.name), copy(one.name), ' ', one.id, ' ', Object.values(one.addresses).join(', '),
          one.volumes.length ? el('div', { class: 'soft' }, 'keeps data in ' + one.volumes.join(', ')) : null)])),
      variables(answer.variables))
    })
  }

  function variables(list) {
    if (!list) return el('p', { class: 'soft' }, 'The engine does not say which variables it has.')
    return el('details', {}, el('summary', {}, count(list.length, 'variable') + ', values hidden'), el('dl', {}, list.map(variable => {
      const value = el('dd', {}, allowed ? el('button', { type: 'button', 'aria-label': 'Show ' + variable, onclick: async () => {
        const answer = await post('/api/reveal', { platform: platform(), service: name, variable })
        value.replaceChildren(...(answer.error ? [answer.error.message] : [el('code', {}, answer.value || ''), copy(answer.value || '', 'the value of ' + variable)]))
        const next = value.querySelector('button')
        if (next) next.focus()
      } }, 'show') : '••••')
      return [el('dt', {}, el('code', {}, variable)), value]
    })))
  }

  // a program of `macula run` is no service, and has a log all the same
  const program = () => !!state && !!state.status && (state.programs || []).some(one => one.host === name + '.' + state.status.platform.domain)

  async function act(action) {
    busy = true
    wentWrong.delete(name)
    done.set(name, { mood: ['busy', DOING[action]], turns: action !== 'start', held: true })
    render()
    said.replaceChildren(el('p', {}, action + ' …'))
    const answer = await post('/api/act', { platform: platform(), service: name, action })
    busy = false
    if (answer.error) {
      wentWrong.set(name, answer.error)
      done.delete(name)
      // whoever has left is told where they are now
      if (closed) say(plain(name + ': ' + answer.error.message))
    } else {
      said.replaceChildren(el('p', {}, action === 'stop' ? 'stopped' : action + 'ed'))
      // until the next look tells how it is
      done.set(name, { mood: action === 'stop' ? MOODS.stopped : ['good', action + 'ed'], turns: action !== 'stop' })
    }
    render()
    if (!closed) look()
  }

  // where there is a row the first update looks
  if (!((state || {}).status || {}).services?.some(row => row.name === name)) look()
  return {
    update() {
      if (wentWrong.has(name)) {
        said.replaceChildren(...trouble(wentWrong.get(name)).flat(9))
        wentWrong.delete(name)
      }
      const row = ((state.status || {}).services || []).find(row => row.name === name)
      put(head, row ? [mood(row), age(row.seconds), row.reason, row.urls, row.addresses, row.image, row.note, lacks(row), reaches(state.status)] : null, () => {
        if (!row) return state.status && !program() ? el('p', { class: 'why' }, 'No stack of ' + platform() + ' has a service of this name.') : []
        const [tone, word] = mood(row)
        const own = !changing(row)
        return [el('p', {}, badge(tone, word), ' ', el('span', { class: 'soft' }, own ? age(row.seconds) : ''), own && row.exit_code !== null && tone === 'bad' && !(row.reason || '').includes('exit code') ? ' exit code ' + row.exit_code : null),
          row.reason && own ? el('p', { class: tone === 'bad' ? 'why' : 'soft' }, rich(row.reason)) : null,
          lacks(row).length ? el('p', { class: 'why' }, 'It ' + lacking(row) + '.') : null,
          [...row.urls, ...row.addresses].map(address),
          row.image ? el('p', { class: 'soft' }, 'from ', el('code', {}, row.image), row.note ? ' ' + row.note : null) : null,
          ['left_out', 'missing', 'gone'].includes(row.condition) ? command(typed('up ' + name)) : null]
      })
      const there = row && row.container
      const turns = there && (done.has(name) ? done.get(name).turns : row.state === 'running' || row.condition === 'restarting')
      put(buttons, [allowed, !!there, turns, busy], () => !there ? [] : !allowed ? [el('span', { class: 'soft' }, 'To start and stop it here: '), el('code', {}, 'macula open home'), copy('macula open home')] : [
        turns ? el('button', { type: 'button', disabled: busy, 'data-key': 'turn', onclick: () => act('stop') }, 'Stop') : el('button', { type: 'button', disabled: busy, class: 'main', 'data-key': 'turn', onclick: () => act('start') }, 'Start'),
        el('button', { type: 'button', disabled: busy, 'data-key': 'restart', onclick: () => act('restart') }, 'Restart')])
      const known = row || program()
      if (known && !logs) logs = reader(log, name)
      log.hidden = !known
      parts.hidden = !row
      const changes = !!row && (state.status.changes || []).includes(name)
      plan.head.textContent = changes ? 'What an up would do: it would change it' : 'What an up would do'
      if (row) {
        const of = Object.keys(row.needs || {}).length
        const by = state.status.services.filter(one => name in (one.needs || {})).length
        graph.head.textContent = 'Dependencies: ' + (of || by ? [of && 'needs ' + of, by && 'needed by ' + by].filter(Boolean).join(', ') : 'none')
        graph.again()
        events.again()
        const drift = changes + ' ' + (state.status.drift || []).length
        // an up that is at work changes it at each look
        if (drift !== planned && !state.status.platform.at_work) { planned = drift; plan.again() }
      }
      const now = row && [row.container, row.state, row.restarts].join()
      if (now !== seen) { seen = now; if (seen) look() }
    },
    close() { closed = true; if (logs) logs.close() },
  }
}
