--[[
After the citations are set: what stands in a bibliography is text, too.

Of a work's fields links to the web are kept, other links become their text, pictures their
description, and raw parts are dropped.
]]

local TEXT = {
  Link = function(link)
    local target = link.target:lower()
    if not (target:match '^#' or target:match '^https?://[^%s]' or target:match '^mailto:') then return link.content end
  end,
  Image = function(image) return image.caption end,
  RawInline = function() return {} end,
  RawBlock = function() return {} end,
}

return {
  {
    Div = function(div)
      if div.identifier == 'refs' then return div:walk(TEXT) end
    end,
    Cite = function(cite) return cite:walk(TEXT) end,
  },
}
