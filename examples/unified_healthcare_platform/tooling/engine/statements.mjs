// Splits an SQL script at the semicolons that end its statements, as PostgreSQL's own lexer sees them.

const TOKEN = new RegExp(
  [
    String.raw`--[^\n]*`, // comment to the end of the line
    String.raw`\/\*`, // comment that may nest: see skipComment
    String.raw`\b[eE]'(?:[^'\\]|\\[\s\S]|'')*'`, // string with backslash escapes
    String.raw`'(?:[^']|'')*'`,
    String.raw`"(?:[^"]|"")*"`,
    String.raw`\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$`, // opens a dollar-quoted string
    String.raw`[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*`, // word
    String.raw`\s+`,
    String.raw`[\s\S]`,
  ].join('|'),
  'gu',
)

/** The statements with the place of each, counted in characters as PostgreSQL does; or the whole where one is unclear. */
export function splitStatements(script) {
  const pieces = cut(script)
  return pieces === null ? [{ text: script, offset: 0 }] : pieces.map((piece) => locate(script, piece))
}

/** [start, end) of each statement, or null. */
function cut(script) {
  const pieces = []
  let start = 0 // where this statement's first token stands, once it has one
  let empty = true
  let depth = 0 // of parentheses: CREATE RULE … DO (…; …) has semicolons inside
  let previousWord = ''
  TOKEN.lastIndex = 0
  for (let match = TOKEN.exec(script); match; match = TOKEN.exec(script)) {
    const token = match[0]
    if (token.startsWith('--') || /^\s/u.test(token)) continue
    if (token === '/*') {
      if (!skipComment(script)) return null
      continue
    }
    if (token === ';' && depth === 0) {
      if (!empty) pieces.push([start, TOKEN.lastIndex])
      empty = true
      previousWord = ''
      continue
    }
    if (empty) [start, empty] = [match.index, false]
    if (token === '(') depth++
    else if (token === ')') depth--
    else if (token === "'" || token === '"') return null // it never ends
    else if (/^\$.*\$$/su.test(token) && !skipDollarQuoted(script, token)) return null
    else if (/^\w/u.test(token)) {
      const word = token.toUpperCase()
      if (previousWord === 'BEGIN' && word === 'ATOMIC') return null // a function body with statements of its own
      previousWord = word
    }
  }
  if (depth !== 0) return null
  if (!empty) pieces.push([start, script.length])
  return pieces
}

function skipComment(script) {
  const mark = /\/\*|\*\//g
  mark.lastIndex = TOKEN.lastIndex
  let depth = 1
  while (depth > 0) {
    const match = mark.exec(script)
    if (!match) return false
    depth += match[0] === '/*' ? 1 : -1
  }
  TOKEN.lastIndex = mark.lastIndex
  return true
}

function skipDollarQuoted(script, tag) {
  const end = script.indexOf(tag, TOKEN.lastIndex)
  if (end < 0) return false
  TOKEN.lastIndex = end + tag.length
  return true
}

function locate(script, [start, end]) {
  return { text: script.slice(start, end), offset: [...script.slice(0, start)].length }
}
