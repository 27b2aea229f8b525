# Step 4: the null model's variance split, and what it means for the design.

step_icc <- function(null, blocks, level) {
  m <- as.name(null)
  statistic(
    "icc/sigma2", sigma(M)^2, "Residual variance of the null model", "variance", bind = list(M = m),
    model = null
  )
  statistic(
    "icc/total", TOTAL, "Total variance of the null model", "variance",
    bind = list(TOTAL = total_call(m, blocks)), model = null
  )
  statistic(
    "icc/level1", sigma(M)^2 / TOTAL, "Share of the variance at the lowest level", "share",
    bind = list(M = m, TOTAL = total_call(m, blocks)), model = null
  )
  for (g in blocks) icc_of_group(m, null, g, blocks, level)
  groups <- blocks[[1]]
  b <- list(G = as.name(groups), M = m, B = groups, TOTAL = total_call(m, blocks))
  statistic(
    "icc/design_effect", design_effect(component(M, B, "(Intercept)") / TOTAL, group_sizes(d$G)),
    "Design effect", "ratio", bind = b, model = null, method = "1 + ((1 + cv^2) mean size - 1) ICC"
  )
  statistic(
    "icc/effective_n", nrow(d) / design_effect(
      component(M, B, "(Intercept)") / TOTAL, group_sizes(d$G)
    ),
    "Effective sample size for a mean", "count", bind = b, model = null,
    method = "n / design effect"
  )
  statistic(
    "icc/reliability", mean_reliability(
      component(M, B, "(Intercept)"), sigma(M)^2, group_sizes(d$G)
    ),
    "Mean reliability of the group means, ICC(2)", "proportion", bind = b, model = null,
    method = "mean over groups of tau / (tau + sigma2 / n_j)"
  )
  list()
}

total_call <- function(m, blocks) {
  total <- bquote(sigma(.(m))^2)
  for (g in rev(unlist(blocks))) total <- bquote(component(.(m), .(g), "(Intercept)") + .(total))
  bquote((.(total)))
}

icc_of_group <- function(m, null, g, blocks, level) {
  b <- list(M = m, B = g, TOTAL = total_call(m, blocks), LEVEL = level)
  id <- function(what) paste("icc", g, what, sep = "/")
  statistic(
    id("tau"), component(M, B, "(Intercept)"), paste("Variance between groups:", g), "variance",
    bind = b, model = null
  )
  statistic(
    id("icc"), component(M, B, "(Intercept)") / TOTAL, paste("Intraclass correlation:", g),
    "proportion", bind = b, model = null,
    method = "REML estimates of the null model unless fitted by ML"
  )
  name <- paste0("icc_ci_", make.names(g))
  object(name, icc_profile(M, B, LEVEL), bind = b)
  method <- sprintf("%g %% profile-likelihood interval (ML)", 100 * level)
  b$CI <- as.name(name)
  if (have(name)) {
    statistic(
      id("lower"), CI[["lower"]], "Lower limit of the ICC", "proportion", bind = b, model = null,
      method = method
    )
    statistic(
      id("upper"), CI[["upper"]], "Upper limit of the ICC", "proportion", bind = b, model = null,
      method = method
    )
  } else {
    absent(id("lower"), why(name, "not computed"), "Lower limit of the ICC")
    absent(id("upper"), why(name, "not computed"), "Upper limit of the ICC")
  }
}
