--[[
The Quarto constructs a report uses, for Pandoc without Quarto.

Stages, in order, each one walk over the document:

  structure   content-visible, raw HTML tables -> native tables, tabsets, equation ids
  numbering   a number for every section, table, figure and equation that can be referred to
  references  @sec-x, @tbl-x, @fig-x, @eq-x -> linked "Section 3", "Table 2", ...
  output      callouts, tabs, captioned tables and figures as the format wants them

Nothing is read but `figures/` in the working folder, which holds the document's own: what Pandoc
reads on our behalf it reads in its sandbox, with no file and no network.

An unknown cross-reference ends the run: one line `mlmreport: {"unknown": [...], "known": [...]}` on
standard error, which render.py turns into a located problem.
]]

local HTML = FORMAT:match 'html' ~= nil
local TYPST = FORMAT == 'typst'
local DOCX = FORMAT == 'docx'
local NBSP = '\u{a0}'

local KIND_NAMES = { sec = 'Section', tbl = 'Table', fig = 'Figure', eq = 'Equation' }
local CALLOUTS = { note = 'Note', tip = 'Tip', warning = 'Warning', caution = 'Caution', important = 'Important' }
local FORMAT_NAMES = HTML and { html = true } or { [FORMAT] = true }

local NO_FILES = {}

local stringify = pandoc.utils.stringify

-- small helpers ----------------------------------------------------------------------------------

local function raw(text)
  return pandoc.RawBlock(HTML and 'html' or FORMAT, text)
end

local function escaped(text)
  return (text:gsub('[&<>"]', { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;' }))
end

local function kind_of(id)
  local prefix = id:match '^(%a+)%-.'
  return KIND_NAMES[prefix] and prefix
end

--- The given parts (blocks, lists of blocks) as one flat list.
local function joined(...)
  local out = pandoc.Blocks {}
  for _, part in ipairs { ... } do
    if pandoc.utils.type(part) == 'Block' then out:insert(part) else out:extend(part) end
  end
  return out
end

local function styled(style, content)
  return pandoc.Div(content, { ['custom-style'] = style })
end

--- An empty line of small type: Word joins neighbouring boxes and tables that have nothing between.
local function spacer()
  return styled('Spacer', { pandoc.Para { pandoc.Str(NBSP) } })
end

--- Blocks in which text outside of paragraphs has become paragraphs.
local function as_paragraphs(blocks)
  return pandoc.Blocks(blocks:map(function(block)
    return block.t == 'Plain' and pandoc.Para(block.content) or block
  end))
end

local function first_class(div, pattern)
  for _, class in ipairs(div.classes) do
    local found = class:match(pattern)
    if found then return found end
  end
end

-- structure --------------------------------------------------------------------------------------

local function hidden(div)
  local only, never = div.attributes['when-format'], div.attributes['unless-format']
  if div.classes:includes 'content-visible' then
    return (only and not FORMAT_NAMES[only]) or (never and FORMAT_NAMES[never])
  end
  return div.classes:includes 'content-hidden'
    and not ((only and not FORMAT_NAMES[only]) or (never and FORMAT_NAMES[never]))
end

--- A panel's headings become tab titles, so that they are neither numbered nor listed.
local function tabset(div)
  local tabs = pandoc.Blocks {}
  for _, block in ipairs(div.content) do
    if block.t == 'Header' then
      local title = pandoc.Div(pandoc.Plain(block.content), pandoc.Attr('', { 'tab-title' }))
      tabs:insert(pandoc.Div({ title }, pandoc.Attr('', { 'tab' })))
    elseif #tabs > 0 then
      tabs[#tabs].content:insert(block)
    end
  end
  div.content = tabs
  return div
end

--- A callout's title, set apart before headings are numbered: a heading of its own, or the attribute,
--- whose text is taken literally.
local function titled_callout(div)
  local first, title = div.content[1], div.attributes.title
  if title then
    div.attributes.title = nil
    title = pandoc.Inlines(title)
  elseif first and first.t == 'Header' then
    div.content:remove(1)
    title = first.content
  end
  if title then div.content:insert(1, pandoc.Div(pandoc.Plain(title), pandoc.Attr('', { 'callout-title' }))) end
  return div
end

local function visible_div(div)
  if hidden(div) then return {} end
  if div.classes:includes 'panel-tabset' then return tabset(div) end
  if CALLOUTS[first_class(div, '^callout%-(%a+)$')] then return titled_callout(div) end
end

--- A raw HTML table as a native one; columns get the width of what stands in them.
local function native_table(block)
  if block.format ~= 'html' or not block.text:match '<table' then return nil end
  local blocks = pandoc.read(block.text, 'html', nil, NO_FILES).blocks
  for _, tbl in ipairs(blocks) do
    if tbl.t == 'Table' then
      tbl.colspecs = tbl.colspecs:map(function(spec) return { spec[1], nil } end)
    end
  end
  return blocks
end

local function is_space(inline)
  return inline.t == 'Space' or inline.t == 'SoftBreak'
end

--- `$$ ... $$ {#eq-id}` as a span with the id around the formula.
local function labelled_equations(para)
  local out, found = pandoc.Inlines {}, false
  for _, inline in ipairs(para.content) do
    local id, rest = (inline.t == 'Str' and inline.text or ''):match '^{#(eq%-[^}%s"\'<>&#$()%[%]]+)}(.*)$'
    if id and #out > 1 and is_space(out[#out]) then out:remove() end
    local math = id and out[#out]
    if math and math.t == 'Math' then
      out[#out] = pandoc.Span({ math }, pandoc.Attr(id, { 'equation' }))
      inline, found = pandoc.Str(rest), true
    end
    out:insert(inline)
  end
  para.content = out
  return found and para or nil
end

--- A figure's file as the format wants it; Word gets the file itself, for it may open none.
local function own_figure(image)
  if not image.src:match '%.%w+$' then
    image.src = image.src .. '.' .. PANDOC_READER_OPTIONS.default_image_extension
  end
  local file = DOCX and image.src:match '^figures/[%w_-][%w_.-]*$' and io.open(image.src, 'rb')
  if file then
    pandoc.mediabag.insert(image.src, nil, file:read 'a')
    file:close()
  end
  return image
end

-- numbering --------------------------------------------------------------------------------------

local labels = {} -- id -> { name = 'Table', number = '2' } or { name = title }
local counts = { tbl = 0, fig = 0, eq = 0 }
local section = {}

local function number_section(header)
  if header.classes:includes 'unnumbered' then
    labels[header.identifier] = { name = stringify(header.content) }
    return
  end
  for level = 1, header.level do section[level] = section[level] or 0 end
  for level = header.level + 1, #section do section[level] = nil end
  section[header.level] = section[header.level] + 1
  labels[header.identifier] = { name = KIND_NAMES.sec, number = table.concat(section, '.') }
end

local function number_float(element)
  local kind = kind_of(element.identifier)
  if counts[kind] and not labels[element.identifier] then
    counts[kind] = counts[kind] + 1
    labels[element.identifier] = { name = KIND_NAMES[kind], number = tostring(counts[kind]) }
  end
end

local NUMBERING = {
  traverse = 'topdown',
  Header = number_section,
  Div = number_float,
  Table = number_float,
  Figure = number_float,
  Span = number_float,
}

-- references -------------------------------------------------------------------------------------

local unknown = pandoc.List {}

local function reference(citation)
  local label = labels[citation.id]
  if not label then
    if not unknown:includes(citation.id) then unknown:insert(citation.id) end
    return pandoc.Inlines {}
  end
  local text = pandoc.Inlines { pandoc.Str(label.number or label.name) }
  if label.number and #citation.prefix > 0 then
    text = citation.prefix .. { pandoc.Str(NBSP) } .. text
  elseif label.number and citation.mode ~= 'SuppressAuthor' then
    text = pandoc.Inlines { pandoc.Str(label.name .. NBSP .. label.number) }
  end
  local class = pandoc.Attr('', { 'cross-reference' })
  return pandoc.Inlines { pandoc.Link(text, '#' .. citation.id, '', class) } .. citation.suffix
end

local function references(cite)
  local out = pandoc.Inlines {}
  for i, citation in ipairs(cite.citations) do
    if not kind_of(citation.id) then return nil end
    if i > 1 then out:extend { pandoc.Str ',', pandoc.Space() } end
    out:extend(reference(citation))
  end
  return out
end

local function refuse_unknown()
  if #unknown == 0 then return end
  local known = pandoc.List {}
  for id in pairs(labels) do
    if kind_of(id) then known:insert(id) end
  end
  io.stderr:write('mlmreport: ' .. pandoc.json.encode { unknown = unknown, known = known } .. '\n')
  os.exit(83)
end

-- output: captions -------------------------------------------------------------------------------

local function caption_inlines(id, caption)
  local label = labels[id]
  local text = label and label.number and label.name .. NBSP .. label.number .. '.'
  if not text then return caption end
  local shown = { pandoc.Str(text) }
  local mark = HTML and pandoc.Span(shown, pandoc.Attr('', { 'caption-label' })) or pandoc.Strong(shown)
  return pandoc.Inlines { mark, pandoc.Space() } .. caption
end

--- Take the last paragraph of a `::: {#tbl-id}` div as its caption.
local function split_caption(blocks)
  local last = blocks[#blocks]
  if last and (last.t == 'Para' or last.t == 'Plain') and #blocks > 1 then
    blocks:remove(#blocks)
    return last.content
  end
  return pandoc.Inlines {}
end

-- output: tables ---------------------------------------------------------------------------------

local WIDE = 6 -- columns; from here on a table in Word is set smaller

--- Every row of the table, head to foot.
local function all_rows(tbl)
  local rows = pandoc.List {}
  rows:extend(tbl.head.rows)
  for _, body in ipairs(tbl.bodies) do
    rows:extend(body.head)
    rows:extend(body.body)
  end
  rows:extend(tbl.foot.rows)
  return rows
end

--- Foot rows that are one cell as wide as the table are notes: they leave the grid.
local function take_notes(tbl)
  local notes, kept = pandoc.Blocks {}, pandoc.List {}
  for _, row in ipairs(tbl.foot.rows) do
    local cell = row.cells[1]
    if #row.cells == 1 and cell.col_span == #tbl.colspecs then
      notes:extend(as_paragraphs(cell.contents))
    else
      kept:insert(row)
    end
  end
  tbl.foot.rows = kept
  return notes
end

local function indent_of(cell)
  local em = (cell.attributes.style or ''):match 'padding%-left:%s*([%d.]+)em'
  return em and math.floor(tonumber(em) + 0.5) or 0
end

--- A label indented by style is indented as a whole in Typst, by a paragraph style in Word.
local function indent_cells(tbl)
  for _, row in ipairs(all_rows(tbl)) do
    for _, cell in ipairs(row.cells) do
      local indent, first = indent_of(cell), cell.contents[1]
      if indent > 0 and first then
        first.content:insert(1, pandoc.RawInline('typst', ('#pad(left: %dem)['):format(indent)))
        first.content:insert(pandoc.RawInline('typst', ']'))
      end
    end
  end
end

local function rule_spanners(tbl)
  for _, row in ipairs(tbl.head.rows) do
    for _, cell in ipairs(row.cells) do
      if cell.col_span > 1 then cell.attributes['typst:stroke'] = '(bottom: 0.4pt)' end
    end
  end
end

--- Paragraphs of the table's own style in every cell, also in an empty one: else its line is a full one.
local function style_cells(tbl)
  local style = #tbl.colspecs >= WIDE and 'Table Text Small' or 'Table Text'
  for _, row in ipairs(all_rows(tbl)) do
    for _, cell in ipairs(row.cells) do
      local content = #cell.contents > 0 and as_paragraphs(cell.contents) or { pandoc.Para { pandoc.Str(NBSP) } }
      local indented = indent_of(cell) > 0 and ' Indented' or ''
      cell.contents = pandoc.Blocks { styled(style .. indented, content) }
    end
  end
end

local function longest_line(blocks)
  local longest, length = 0, 0
  for _, inline in ipairs(pandoc.utils.blocks_to_inlines(blocks)) do
    length = inline.t == 'LineBreak' and 0 or length + (utf8.len(stringify(inline)) or 0)
    longest = math.max(longest, length)
  end
  return longest
end

--- Take from the widest columns, those of text, what is more than a full line; the sum of what is left.
local function shortened(need, full)
  local total = 0
  for _, width in ipairs(need) do total = total + width end
  while total > full do
    local widest = 1
    for i, width in ipairs(need) do widest = width > need[widest] and i or widest end
    if need[widest] <= 26 then break end
    need[widest], total = need[widest] - 1, total - 1
  end
  return total
end

--- Word needs widths: from the longest line of each column, as shares of a full line of text.
local function set_widths(tbl)
  if tbl.colspecs[1][2] then return end
  local need, full = pandoc.List {}, #tbl.colspecs >= WIDE and 92 or 78
  for i = 1, #tbl.colspecs do need[i] = 4 end
  for _, row in ipairs(all_rows(tbl)) do
    for i, cell in ipairs(#row.cells == #need and row.cells or {}) do
      need[i] = math.max(need[i], math.min(longest_line(cell.contents), 40) + 3)
    end
  end
  local total = shortened(need, full)
  for i, spec in ipairs(tbl.colspecs) do tbl.colspecs[i] = { spec[1], need[i] / math.max(total, full) } end
end

local function html_table(id, caption, tbl, notes)
  local attr = id ~= '' and (' id="%s"'):format(id) or ''
  local name = id ~= '' and id .. '-caption' or ''
  local out = pandoc.Blocks { raw('<figure class="float float-table"' .. attr .. '>') }
  if #caption > 0 then
    out:insert(raw(name ~= '' and ('<figcaption id="%s">'):format(name) or '<figcaption>'))
    out:extend { pandoc.Plain(caption), raw '</figcaption>' }
  end
  local region = name ~= '' and #caption > 0 and (' role="region" aria-labelledby="%s"'):format(name) or ''
  out:extend { raw('<div class="table-scroll" tabindex="0"' .. region .. '>') }
  out:extend(tbl)
  out:insert(raw '</div>')
  if #notes > 0 then out:insert(pandoc.Div(notes, pandoc.Attr('', { 'table-note' }))) end
  out:insert(raw '</figure>')
  return out
end

local function docx_table(id, caption, tbl, notes)
  local out = pandoc.Blocks {}
  if #caption > 0 then
    out:insert(styled('Table Caption', { pandoc.Para(caption) }))
  end
  out:extend(tbl)
  out:insert(#notes > 0 and styled('Table Note', notes) or spacer())
  return id ~= '' and pandoc.Blocks { pandoc.Div(out, pandoc.Attr(id)) } or out
end

local function typst_table(id, caption, tbl, notes, columns)
  local label = id ~= '' and (' <%s>'):format(id) or ''
  return joined(
    raw(('#table-float(columns: %d, caption: ['):format(columns)),
    pandoc.Plain(caption), raw(#notes > 0 and '], note: [' or '], note: none'), notes,
    raw(#notes > 0 and '])[' or ')['), tbl, raw(']' .. label)
  )
end

local TABLE_WRITERS = { docx = docx_table, typst = typst_table }

local function prepare_table(tbl)
  local notes = take_notes(tbl)
  tbl.caption = { long = {}, short = nil }
  tbl.identifier = ''
  if HTML then return notes end
  if TYPST then
    tbl.classes:insert 'typst:no-figure'
    indent_cells(tbl)
    rule_spanners(tbl)
  else
    set_widths(tbl)
    style_cells(tbl)
  end
  return notes
end

local function write_table(id, caption, blocks)
  local notes, columns = pandoc.Blocks {}, 0
  for _, block in ipairs(blocks) do
    if block.t == 'Table' then
      columns = math.max(columns, #block.colspecs)
      notes:extend(prepare_table(block))
    end
  end
  local write = TABLE_WRITERS[FORMAT] or html_table
  return write(id, caption_inlines(id, caption), blocks, notes, columns)
end

local function output_table(tbl)
  local caption = pandoc.utils.blocks_to_inlines(tbl.caption.long)
  return write_table(tbl.identifier, caption, pandoc.Blocks { tbl }), false
end

-- output: figures --------------------------------------------------------------------------------

local function with_alt_text(image)
  local alt = image.attributes['fig-alt'] or image.attributes.alt
  if alt then
    image.caption = { pandoc.Str(alt) }
    image.attributes['fig-alt'], image.attributes.alt = nil, nil
  end
  return image
end

local function html_figure(id, caption, content)
  local attr = id ~= '' and (' id="%s"'):format(id) or ''
  return joined(
    raw('<figure class="float float-figure"' .. attr .. '>'), content,
    raw '<figcaption>', pandoc.Plain(caption), raw '</figcaption></figure>'
  )
end

local function docx_figure(id, caption, content)
  local out = pandoc.Blocks {
    styled('Captioned Figure', content), styled('Image Caption', { pandoc.Para(caption) }),
  }
  return id ~= '' and pandoc.Blocks { pandoc.Div(out, pandoc.Attr(id)) } or out
end

local function typst_figure(id, caption, content)
  local label = id ~= '' and (' <%s>'):format(id) or ''
  return joined(
    raw '#figure-float(caption: [', pandoc.Plain(caption), raw '])[', content, raw(']' .. label)
  )
end

local FIGURE_WRITERS = { docx = docx_figure, typst = typst_figure }

local function write_figure(id, caption, content)
  local write = FIGURE_WRITERS[FORMAT] or html_figure
  return write(id, caption_inlines(id, caption), content:walk { Image = with_alt_text })
end

local function output_figure(figure)
  local caption = pandoc.utils.blocks_to_inlines(figure.caption.long)
  local content = figure.content
  if DOCX then -- a lone image in a Plain would be set in the compact list style
    content = as_paragraphs(content)
  end
  return write_figure(figure.identifier, caption, content), false
end

-- output: equations and displayed numbers --------------------------------------------------------

local function typst_equation(id, number, math)
  return pandoc.Inlines {
    pandoc.RawInline('typst', ('#numbered-equation("(%s)")['):format(number)), math,
    pandoc.RawInline('typst', ('] <%s>'):format(id)),
  }
end

local function output_equation(span)
  local number, math = labels[span.identifier].number, span.content[1]
  if TYPST then return typst_equation(span.identifier, number, math) end
  if DOCX then
    math.text = math.text .. '\\qquad(' .. number .. ')'
    return span
  end
  local mark = pandoc.Span({ pandoc.Str('(' .. number .. ')') }, pandoc.Attr('', { 'equation-number' }))
  span.content = { math, mark }
  return span
end

--- Significance marks get the same room in every cell, so that the numbers before them align.
local function typst_stars(span)
  return pandoc.Inlines {
    pandoc.RawInline('typst', '#box(width: 1.5em, align(left)['), span, pandoc.RawInline('typst', '])'),
  }
end

local function output_span(span)
  if span.classes:includes 'equation' then return output_equation(span) end
  if span.classes:includes 'stars' and TYPST then return typst_stars(span) end
  if span.classes:includes 'q' and not HTML then return span.content end
end

-- output: callouts, tabs, folded blocks ----------------------------------------------------------

local function callout_title(div, kind)
  local first = div.content[1]
  if first and first.t == 'Div' and first.classes:includes 'callout-title' then
    div.content:remove(1)
    return pandoc.utils.blocks_to_inlines(first.content)
  end
  return pandoc.Inlines { pandoc.Str(CALLOUTS[kind]) }
end

local function html_callout(kind, title, content, collapse)
  local class = ('class="callout callout-%s"'):format(kind)
  local open, close, head, tail =
    ('<div %s role="note">'):format(class), '</div></div>', '<p class="callout-title">', '</p>'
  if collapse then
    open = ('<details %s%s>'):format(class, collapse == 'false' and ' open' or '')
    close, head, tail = '</div></details>', '<summary class="callout-title">', '</summary>'
  end
  return joined(
    raw(open .. head), pandoc.Plain(title), raw(tail .. '<div class="callout-body">'), content, raw(close)
  )
end

local function docx_callout(_, title, content)
  return joined(
    styled('Callout Title', { pandoc.Para(title) }), styled('Callout', as_paragraphs(content)), spacer()
  )
end

local function typst_callout(kind, title, content)
  return joined(
    raw(('#callout(kind: "%s", title: ['):format(kind)), pandoc.Plain(title), raw '])[', content, raw ']'
  )
end

local CALLOUT_WRITERS = { docx = docx_callout, typst = typst_callout }

local OUTPUT -- the last walk; topdown, and what it has written is not visited again

local function output_callout(div, kind)
  local title = callout_title(div, kind)
  local write = CALLOUT_WRITERS[FORMAT] or html_callout
  return write(kind, title, div.content:walk(OUTPUT), div.attributes.collapse), false
end

local function output_tab_title(div)
  if DOCX then return styled('Tab Title', { pandoc.Para(div.content[1].content) }) end
  if TYPST then return joined(raw '#tab-title[', div.content, raw ']') end
end

local function output_div(div)
  local callout, kind = first_class(div, '^callout%-(%a+)$'), kind_of(div.identifier)
  if CALLOUTS[callout] then return output_callout(div, callout) end
  if div.classes:includes 'tab-title' then return output_tab_title(div) end
  if kind == 'tbl' or kind == 'fig' then
    local write = kind == 'tbl' and write_table or write_figure
    return write(div.identifier, split_caption(div.content), div.content), false
  end
end

OUTPUT = { traverse = 'topdown', Div = output_div, Table = output_table, Figure = output_figure }

--- `<summary>` of a folded block is a small heading where nothing folds.
local function output_blocks(blocks)
  if HTML then return nil end
  for i = 2, #blocks do
    local before, block = blocks[i - 1], blocks[i]
    if before.t == 'RawBlock' and before.text:match '^<summary' and block.t == 'Plain' then
      blocks[i] = pandoc.Div(block, pandoc.Attr('', { 'tab-title' }))
    end
  end
  return blocks
end

-- the whole --------------------------------------------------------------------------------------

--- Quarto adds the heading of the reference list itself; Pandoc needs to be given one.
local function with_reference_heading(doc)
  local has_refs = false
  doc.blocks:walk {
    Div = function(div) has_refs = has_refs or div.identifier == 'refs' end,
  }
  if not doc.meta.bibliography or has_refs then return doc end
  doc.blocks:insert(pandoc.Header(1, 'References', pandoc.Attr('references', { 'unnumbered' })))
  doc.blocks:insert(pandoc.Div({}, pandoc.Attr('refs')))
  return doc
end

function Pandoc(doc)
  local blocks = doc.blocks:walk {
    traverse = 'topdown',
    Div = visible_div,
    RawBlock = native_table,
    Para = labelled_equations,
  }
  blocks = blocks:walk { Image = own_figure }
  blocks:walk(NUMBERING)
  blocks = blocks:walk { Cite = references }
  refuse_unknown()
  doc.blocks = blocks
  doc = with_reference_heading(doc)
  doc.blocks = doc.blocks:walk({ Blocks = output_blocks, Span = output_span }):walk(OUTPUT)
  return doc
end
