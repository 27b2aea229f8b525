# Loops whose turns do not rest on each other.

# f(block, ...) of each block in order, up to the first after which `enough` of what was found so far
# is TRUE. The option "over_blocks", a function of the same arguments, may have blocks computed in
# other processes; the values are the same.
over_blocks <- function(blocks, f, ..., enough = function(found) FALSE) {
  elsewhere <- getOption("over_blocks")
  if (!is.null(elsewhere)) {
    return(elsewhere(blocks, f, ..., enough = enough))
  }
  found <- list()
  for (block in blocks) {
    found[length(found) + 1L] <- list(f(block, ...))
    if (enough(found)) break
  }
  found
}

in_blocks <- function(which, size = 50L) unname(split(which, (seq_along(which) - 1L) %/% size))
