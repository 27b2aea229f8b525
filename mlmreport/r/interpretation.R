# Step 7: what the coefficients mean: typical values, ranges of slopes, simple slopes.

# The call d$x; a name in bquote would bind to the call's argument instead.
column_of <- function(x) call("$", quote(d), as.name(x))

# A row of typical values: means over the units of a variable's own level, reference categories.
typical_values <- function(variables) {
  parts <- lapply(variables, function(v) {
    x <- column_of(v$column)
    if (v$type == "category") {
      return(bquote(factor(levels(.(x))[1L], levels = levels(.(x)))))
    }
    if (v$level > 1) bquote(mean(per_group(.(x), .(column_of(v$group))))) else bquote(mean(.(x)))
  })
  names(parts) <- vapply(variables, function(v) v$column, "")
  call <- as.call(c(list(as.name("data.frame")), parts, list(check.names = FALSE)))
  if (!length(parts)) call <- quote(d[1L, 0L])
  object("typical", CALL, bind = list(CALL = call))
  list()
}

# Range of a random slope over groups, and the share with the opposite sign.
slope_range <- function(id, block, effect, label, level, unit) {
  name <- paste0("m_", id)
  model_as_m(name)
  at <- function(what) paste("interpretation/range", block, effect, what, sep = "/")
  b <- list(M = as.name(name), B = block, E = effect, TAIL = 1 - (1 - level) / 2)
  if (!effect %in% names(fixef(m))) {
    for (what in c("lower", "upper", "opposite")) {
      absent(at(what), "the effect has no fixed part to vary around", label)
    }
    return(list())
  }
  if (component(m, block, effect) <= 0) {
    for (what in c("lower", "upper", "opposite")) {
      absent(at(what), "the variance of the slope is estimated as zero", label)
    }
    return(list())
  }
  said <- sprintf("estimate -/+ z sqrt(tau), the middle %g %% of groups", 100 * level)
  statistic(
    at("lower"), fixef(M)[[E]] - qnorm(TAIL) * sqrt(component(M, B, E)),
    paste("Plausible range of the slope, lower:", label), "estimate", unit, said, name, b
  )
  statistic(
    at("upper"), fixef(M)[[E]] + qnorm(TAIL) * sqrt(component(M, B, E)),
    paste("Plausible range of the slope, upper:", label), "estimate", unit, said, name, b
  )
  statistic(
    at("opposite"), pnorm(-abs(fixef(M)[[E]]) / sqrt(component(M, B, E))),
    paste("Share of groups with a slope of the opposite sign:", label), "share", "",
    "normal distribution of the slopes", name, b
  )
  list()
}

# Simple slopes of x at values of a moderator z, and the lines to draw.
# values: list of list(key, label, category, at), at in SDs from the mean
simple_slopes <- function(id, interaction, x, z, z_type, z_group, values, level, ddf, unit) {
  name <- paste0("m_", id)
  b <- list(
    M = as.name(name), T = as.name(paste0("t_", id)), X = x, Z = z, LEVEL = level, DDF = ddf,
    XC = as.name(x)
  )
  for (v in values) {
    b$VALUE <- moderator_value(v, z_type, z_group, b)
    at <- function(what) paste("interpretation/slopes", interaction, v$key, what, sep = "/")
    slope <- paste0("slope_", make.names(interaction), "_", make.names(v$key))
    b$S <- as.name(slope)
    if (z_type == "number") {
      statistic(at("moderator"), VALUE, paste("Value of the moderator:", v$label), "mean", bind = b)
    }
    object(slope, combination(T, slope_weights(M, with_list(typical, Z, VALUE), X), DDF), bind = b)
    slope_statistics(at, slope, paste("Simple slope:", v$label), level, ddf, unit, name, b)
    slope_line(interaction, v$key, name, b)
  }
  series(
    paste("interpretation/slopes", interaction, "x", sep = "/"), x_grid(d$XC), x, model = name,
    bind = b
  )
  if (z_type == "number") neyman_bounds(interaction, x, z, name, level, b)
  list()
}

# A category, or the call that gives the moderator's mean or one SD to either side of it.
moderator_value <- function(v, z_type, z_group, b) {
  if (z_type == "category") {
    return(v$category)
  }
  values <- column_of(b$Z)
  if (nzchar(z_group)) values <- bquote(per_group(.(values), .(column_of(z_group))))
  mean_ <- bquote(mean(.(values)))
  sd_ <- bquote(sd(.(values)))
  if (v$at == 0) mean_ else if (v$at > 0) bquote(.(mean_) + .(sd_)) else bquote(.(mean_) - .(sd_))
}

slope_statistics <- function(at, slope, label, level, ddf, unit, name, b) {
  said <- interval_of(level, ddf)
  if (!have(slope)) {
    for (what in c("estimate", "se", "df", "t", "p", "lower", "upper")) {
      absent(at(what), why(slope, "not computed"), label)
    }
    return(invisible())
  }
  statistic(
    at("estimate"), S[["estimate"]], label, "estimate", unit, model = name,
    bind = b
  )
  statistic(
    at("se"), S[["se"]], paste("SE:", label), "se", unit, model = name, bind = b
  )
  statistic(
    at("df"), S[["df"]], paste("df:", label), "df", method = ddf, model = name,
    bind = b
  )
  statistic(
    at("t"), S[["t"]], paste("t:", label), "statistic", method = ddf,
    model = name, bind = b
  )
  statistic(
    at("p"), S[["p"]], paste("p:", label), "p", method = ddf, model = name,
    bind = b
  )
  statistic(
    at("lower"), t_limit(S, "lower", LEVEL), paste("Lower limit:", label), "estimate", unit, said,
    name, b
  )
  statistic(
    at("upper"), t_limit(S, "upper", LEVEL), paste("Upper limit:", label), "estimate", unit, said,
    name, b
  )
}

slope_line <- function(interaction, key, name, b) {
  line <- paste0("line_", make.names(interaction), "_", make.names(key))
  b$LINE <- as.name(line)
  at <- function(what) paste("interpretation/slopes", interaction, key, what, sep = "/")
  b$VALUES <- resolve(quote(with_list(with_list(typical, Z, VALUE), X, x_grid(d$XC))), b)
  b$EXPECTED <- quote(combinations(T, fixed_rows(M, VALUES), LEVEL))
  if (record$offset) b$EXPECTED$plus <- quote(offset_at(M, typical))
  b$EXPECTED <- resolve(b$EXPECTED, b)
  object(line, EXPECTED, bind = b)
  if (!have(line)) {
    return(invisible())
  }
  series(at("line"), as.vector(LINE[, "estimate"]), "Expected outcome", model = name, bind = b)
  series(at("line_lower"), as.vector(LINE[, "lower"]), "Lower limit", model = name, bind = b)
  series(at("line_upper"), as.vector(LINE[, "upper"]), "Upper limit", model = name, bind = b)
}

# Where the effect of x begins to differ from zero along z; only for a product of two numbers.
neyman_bounds <- function(interaction, x, z, name, level, b) {
  model_as_m(name)
  names_ <- formula_name(c(x, z))
  product <- intersect(paste(names_, rev(names_), sep = ":"), names(fixef(m)))
  at <- function(what) paste("interpretation/neyman", interaction, what, sep = "/")
  if (length(product) != 1L || !names_[1L] %in% names(fixef(m))) {
    return(invisible())
  }
  b$P <- product
  key <- make.names(interaction)
  b$JP <- as.name(paste0("slope_parts_", key))
  b$JQ <- as.name(paste0("slope_quantile_", key))
  b$JC <- as.name(paste0("slope_curve_", key))
  b$TAIL <- 1 - (1 - level) / 2
  b$ZC <- as.name(z)
  object(
    paste0("slope_parts_", key), slope_parts(M, with_list(typical, Z, 0), X, P), bind = b
  )
  object(
    paste0("slope_quantile_", key),
    qt(TAIL, combination(T, slope_weights(M, typical, X))[["df"]]), bind = b
  )
  neyman_roots(at, paste0("neyman_", key), name, level, b)
  object(paste0("slope_curve_", key), slope_curve(JP, x_grid(d$ZC), JQ), bind = b)
  series(at("z"), x_grid(d$ZC), z, model = name, bind = b)
  for (what in c("slope", "lower", "upper")) {
    b$WHAT <- what
    series(
      at(paste0("curve_", what)), as.vector(JC[, WHAT]), "Simple slope over the moderator",
      model = name, bind = b
    )
  }
}

neyman_roots <- function(at, jn, name, level, b) {
  b$JN <- as.name(jn)
  object(
    jn,
    johnson_neyman(JP[["b"]], JP[["c"]], JP[["vb"]], JP[["vbc"]], JP[["vc"]], JQ),
    bind = b
  )
  for (i in 1:2) {
    b$I <- i
    if (!have(jn)) {
      absent(at(c("lower", "upper")[i]), why(jn, "not computed"), "Johnson-Neyman bound")
      next
    }
    statistic(
      at(c("lower", "upper")[i]), JN[[I]], paste("Johnson-Neyman bound", i), "estimate", bind = b,
      model = name, otherwise = "the slope's interval does not come to touch zero at any value",
      method = sprintf(
        "pointwise, %g %%, t quantile with the Satterthwaite df of the slope at typical values",
        100 * level
      )
    )
  }
}

# What a doubling of a predictor that entered by its logarithm goes with.
doubling <- function(id, term, base, unit, label) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), TERM = term, BASE = base)
  statistic(
    paste("interpretation/doubling", term, sep = "/"), fixef(M)[[TERM]] * log(2, BASE),
    paste("Difference for a doubling:", label), "estimate", unit, model = name, bind = b,
    method = "coefficient times the logarithm of 2"
  )
  list()
}

# A joint F test of several coefficients: a factor, or all terms of a question.
joint_test <- function(id, key, coefficients, ddf) {
  name <- paste0("m_", id)
  joint <- paste0("joint_", make.names(key))
  b <- list(
    M = as.name(name), T = as.name(paste0("t_", id)), CS = coefficients, DDF = ddf,
    F = as.name(joint)
  )
  if (ddf == "asymptotic") {
    object(joint, asymptotic_joint(M, CS), bind = b)
  } else {
    object(
      joint,
      lmerTest::contestMD(
        T, diag(length(fixef(M)))[match(CS, names(fixef(M))), , drop = FALSE], ddf = DDF
      ),
      bind = b
    )
  }
  at <- function(what) paste("interpretation/joint", key, what, sep = "/")
  if (!have(joint)) {
    for (what in c("F", "df1", "df2", "p")) {
      absent(at(what), why(joint, "not computed"), key)
    }
    return(list())
  }
  said <- if (ddf == "asymptotic") "Wald chi-square test, over its df" else paste("F test,", ddf, "df")
  statistic(
    at("F"), F[["F value"]], paste("F:", key), "statistic", method = said, bind = b, model = name
  )
  statistic(
    at("df1"), F[["NumDF"]], paste("Numerator df:", key), "integer", method = said, bind = b,
    model = name
  )
  statistic(
    at("df2"), F[["DenDF"]], paste("Denominator df:", key), "df", method = said, bind = b,
    model = name
  )
  statistic(at("p"), F[["Pr(>F)"]], paste("p:", key), "p", method = said, bind = b, model = name)
  list()
}

# The ends of every group's line over a predictor with a random slope, each group with its own
# higher-level values (`columns`), and of the average line.
group_lines <- function(id, group, x, columns) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), G = group, X = x, XC = as.name(x), COLUMNS = columns)
  at <- function(what) paste0("interpretation/lines/", what)
  b$MEAN <- quote(as.vector(fixed_rows(M, with_list(typical, X, range(d$XC))) %*% fixef(M)))
  if (record$offset) b$MEAN <- bquote(.(b$MEAN) + offset_at(M, typical))
  b$MEAN <- resolve(b$MEAN, b)
  object("rows_of_groups", group_rows(typical, G, d, COLUMNS), bind = b)
  series(at("x"), range(d$XC), x, model = name, bind = b)
  series(
    at("mean"), MEAN,
    "Average line", model = name, bind = b
  )
  series(
    at("left"), group_values_at(M, G, with_list(rows_of_groups, X, min(d$XC))),
    "Groups' lines, left end", model = name, bind = b
  )
  series(
    at("right"), group_values_at(M, G, with_list(rows_of_groups, X, max(d$XC))),
    "Groups' lines, right end", model = name, bind = b
  )
  list()
}

# Measurements and fitted values of single groups, in the order of time.
growth_panels <- function(id, group, time, outcome, units) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), GC = as.name(group), TC = as.name(time), Y = as.name(outcome))
  for (u in units) {
    b$U <- u
    at <- function(what) paste("interpretation/growth", u, what, sep = "/")
    series(at("x"), sort(d$TC[d$GC == U]), time, model = name, bind = b)
    series(at("y"), d$Y[d$GC == U][order(d$TC[d$GC == U])], "Measured", model = name, bind = b)
    series(
      at("fitted"), fitted(M)[d$GC == U][order(d$TC[d$GC == U])], "Fitted", model = name, bind = b
    )
  }
  list()
}

# A combination of fixed effects recorded with its test and interval under a common prefix.
record_combination <- function(prefix, object_name, label, level, ddf, unit, name) {
  at <- function(what) paste(prefix, what, sep = "/")
  slope_statistics(
    at, object_name, label, level, ddf, unit, name,
    list(S = as.name(object_name), LEVEL = level)
  )
}

# Whether a higher-level column holds the group means of another: as declared, or where it lies off
# them by no more than its rounding, which is itself small beside their spread.
group_mean_match <- function(column, source, group, declared, label) {
  b <- list(CC = as.name(column), XC = as.name(source), G = as.name(group))
  d <- analysis$d
  off <- mean_mismatch(d[[column]], d[[source]], d[[group]])
  rounding <- half_decimal(d[[column]])
  spread <- sd(raw_means(d[[source]], d[[group]]))
  same <- isTRUE(off <= 1.001 * rounding + 1e-8 * spread && off < 0.05 * spread)
  if (declared || same) {
    at <- function(what) paste("interpretation/mean_of", column, what, sep = "/")
    statistic(
      at("mismatch"), mean_mismatch(d$CC, d$XC, d$G),
      paste("Largest distance from the group means, but for a constant:", label), "gradient",
      bind = b
    )
    statistic(
      at("shift"), mean(per_group(d$CC, d$G) - raw_means(d$XC, d$G)),
      paste("Mean difference from the group means:", label), "gradient", bind = b
    )
  }
  list(same = same)
}

# Average over the rows of the slope of a number, or of the difference that each category makes.
average_effects <- function(id, column, categories, level, ddf, unit, label) {
  name <- paste0("m_", id)
  b <- list(
    M = as.name(name), T = as.name(paste0("t_", id)), X = column, DDF = ddf
  )
  for (i in seq_len(max(1L, length(categories)))) {
    made <- paste0("average_", make.names(column), if (length(categories)) paste0("_", i))
    at <- paste("interpretation/average", column, if (length(categories)) i else "slope", sep = "/")
    if (length(categories)) {
      b$CATEGORY <- categories[[i]]
      object(made, combination(T, average_difference_weights(M, d, X, CATEGORY), DDF), bind = b)
    } else {
      object(made, combination(T, average_slope_weights(M, d, X), DDF), bind = b)
    }
    record_combination(at, made, paste("average effect:", label), level, ddf, unit, name)
  }
  list()
}

# Within, between and contextual effects of a variable that is in the model in two parts.
# centred: the lower-level part is centred at the group mean, so that the mean's own coefficient is
# the between effect; otherwise it is the contextual effect.
contextual_effect <- function(id, key, lower, mean, centred, level, ddf, unit, label) {
  name <- paste0("m_", id)
  object_name <- paste0("contextual_", make.names(key))
  b <- list(
    T = as.name(paste0("t_", id)), M = as.name(name), B = mean, W = lower, DDF = ddf,
    SIGN = if (centred) -1 else 1
  )
  object(
    object_name,
    combination(T, (names(fixef(M)) == B) + SIGN * (names(fixef(M)) == W), DDF),
    bind = b
  )
  record_combination(
    paste0("interpretation/contextual/", key), object_name,
    paste(if (centred) "contextual effect of" else "between effect of", label), level, ddf, unit,
    name
  )
  list()
}

# Effects in SDs: of the variable's own level and the outcome's at that level, and of all rows.
standardised <- function(id, term, column, level_index, group, outcome, null, block, label) {
  name <- paste0("m_", id)
  at <- function(what) paste("interpretation/standardised", term, what, sep = "/")
  b <- list(
    M = as.name(name), TERM = term, XC = as.name(column), Y = as.name(outcome), G = as.name(group)
  )
  total <- "SDs over all rows"
  statistic(at("sd_total"), sd(d$XC), paste("SD over rows:", label), "sd", bind = b, method = total)
  statistic(
    at("total"), fixef(M)[[TERM]] * sd(d$XC) / sd(d$Y), paste("Totally standardised:", label),
    "estimate", method = total, model = name, bind = b
  )
  if (level_index == 1) {
    statistic(
      at("sd_own"), within_sd(d$XC, d$G), paste("Pooled SD within groups:", label), "sd", bind = b,
      method = "pooled within groups"
    )
  } else {
    statistic(
      at("sd_own"), between_sd(d$XC, d$G), paste("SD over groups:", label), "sd", bind = b,
      method = "over groups"
    )
  }
  own_standardised(at, level_index, null, block, label, name, b)
  list()
}

own_standardised <- function(at, level_index, null, block, label, name, b) {
  text <- paste("Standardised at its own level:", label)
  if (!nzchar(null)) {
    absent(at("own"), "the sequence has no null model that gives the outcome's SD by level", text)
    return(invisible())
  }
  b$NULLM <- as.name(paste0("m_", null))
  b$SD <- if (weighted()) bquote(sqrt(residual_variance(.(b$NULLM)))) else bquote(sigma(.(b$NULLM)))
  if (level_index == 1) {
    statistic(
      at("own"), fixef(M)[[TERM]] * within_sd(d$XC, d$G) / SD, text, "estimate",
      method = "pooled SD within groups; residual SD of the null model", model = name, bind = b
    )
    return(invisible())
  }
  b$BLOCK <- block
  variances <- VarCorr(get(paste0("m_", null), envir = analysis))
  if (!block %in% names(variances) || variances[[block]][1, 1] <= 0) {
    absent(at("own"), "the null model has no variance between these groups", text)
    return(invisible())
  }
  statistic(
    at("own"),
    fixef(M)[[TERM]] * between_sd(d$XC, d$G) / sqrt(component(NULLM, BLOCK, "(Intercept)")),
    text, "estimate", method = "SD over groups; SD between groups of the null model", model = name,
    bind = b
  )
}

# How reliably the groups' own slopes are told apart.
slope_reliabilities <- function(id, block, effect, label) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), B = block, E = effect)
  key <- paste0("reliability_", make.names(block), "_", make.names(effect))
  b$R <- as.name(key)
  at <- function(what) paste("interpretation/reliability", block, effect, what, sep = "/")
  text <- paste("Reliability of the slopes:", label)
  if (component(get(name, envir = analysis), block, effect) <= 0) {
    for (what in c("mean", "groups")) {
      absent(at(what), "the variance of the slope is estimated as zero", text)
    }
    return(list())
  }
  object(key, slope_reliability(M, B, E), bind = b)
  statistic(
    at("mean"), mean(R, na.rm = TRUE), text, "proportion", model = name, bind = b,
    method = "mean over groups of tau / (tau + sigma2 [(Z'Z)^-1])",
    otherwise = "no group's own data determine its slope"
  )
  statistic(at("groups"), sum(!is.na(R)), "Groups that it is a mean over", "count", model = name,
    bind = b
  )
  list()
}

# Where along x the variance between groups is smallest, and the SDs there and at the data's ends.
least_variance <- function(id, block, effect, column, unit, label) {
  name <- paste0("m_", id)
  model_as_m(name)
  at <- function(what) paste("interpretation/least", block, effect, what, sep = "/")
  if (component(m, block, effect) <= 0) {
    for (what in c("x", "sd", "min", "max")) {
      absent(at(what), "the variance of the slope is estimated as zero", label)
    }
    return(list())
  }
  b <- list(M = as.name(name), B = block, E = effect, XC = as.name(column), I = "(Intercept)")
  statistic(
    at("x"), -component(M, B, I, E) / component(M, B, E),
    paste("Where groups differ least:", label), "estimate", model = name, bind = b,
    method = "-tau01 / tau11"
  )
  statistic(
    at("sd"), sqrt(max(0, component(M, B, I) - component(M, B, I, E)^2 / component(M, B, E))),
    paste("SD between groups there:", label), "sd", unit, model = name, bind = b
  )
  statistic(at("min"), min(d$XC), paste("Smallest value:", label), "mean", bind = b)
  statistic(at("max"), max(d$XC), paste("Largest value:", label), "mean", bind = b)
  list()
}

# The correlation of intercepts and slopes were the predictor's zero at its mean.
correlation_at_mean <- function(id, block, effect, column, label) {
  b <- list(M = as.name(paste0("m_", id)), B = block, E = effect, XC = as.name(column))
  at <- function(what) paste("interpretation/correlation", block, effect, what, sep = "/")
  statistic(at("mean"), typical$XC, paste("Mean:", label), "mean", bind = b)
  statistic(
    at("there"), correlation_at(M, B, E, typical$XC),
    paste("Correlation of intercepts and slopes at the mean:", label), "correlation", bind = b,
    model = paste0("m_", id)
  )
  list()
}

# Marginal means of a factor, by categories of another one where `by` names it; pairwise differences
# where asked for.
marginal_means <- function(id, key, factor, by, pairs, level, ddf) {
  if (!requireNamespace("emmeans", quietly = TRUE)) {
    return(list(installed = FALSE, rows = 0, pairs = 0))
  }
  at <- paste0("interpretation/emmeans/", key)
  means <- paste0("means_", make.names(key))
  specs <- c(factor, if (nzchar(by)) by)
  b <- list(
    T = as.name(paste0("t_", id)), F = specs, LEVEL = level, METHOD = tolower(ddf),
    E = as.name(paste0("grid_", make.names(key))), BY = if (nzchar(by)) by else NULL
  )
  object(paste0("grid_", make.names(key)), suppressMessages(emmeans::emmeans(
    T, F, lmer.df = METHOD, lmerTest.limit = Inf, pbkrtest.limit = Inf
  )), bind = b)
  object(means, as.data.frame(summary(E, infer = TRUE, level = LEVEL)), bind = b)
  if (!have(means)) {
    return(list(installed = TRUE, rows = 0, pairs = 0))
  }
  found <- get(means, envir = analysis)
  record_rows(at, means, seq_len(nrow(found)), "emmean", "Marginal mean", id, ddf)
  facts <- list(
    installed = TRUE, rows = nrow(found), factor = as.character(found[[factor]]),
    by = if (nzchar(by)) as.character(found[[by]]) else character(), pairs = 0
  )
  if (pairs) {
    categories <- unique(as.character(found[[factor]]))
    facts <- c(facts[names(facts) != "pairs"], pairwise(at, key, categories, by, id, ddf, b))
  }
  facts
}

# Differences of every two categories; emmeans names them by factor and category where these are
# numbers, so the names are made from the categories, in its order.
pairwise <- function(at, key, categories, by, id, ddf, b) {
  name <- paste0("pairs_", make.names(key))
  object(name, as.data.frame(summary(
    emmeans::contrast(E, "revpairwise", by = BY), infer = TRUE, level = LEVEL
  )), bind = b)
  if (!have(name)) {
    return(list(pairs = 0))
  }
  found <- get(name, envir = analysis)
  adjusted <- if (length(categories) > 2L) "; p and limits adjusted by Tukey's method" else ""
  record_rows(
    paste0(at, "/pair"), name, seq_len(nrow(found)), "estimate", "Difference", id, ddf, adjusted
  )
  two <- which(upper.tri(diag(length(categories))), arr.ind = TRUE)
  list(
    pairs = nrow(found),
    contrast = rep_len(paste(categories[two[, 2L]], "\u2212", categories[two[, 1L]]), nrow(found)),
    pair_by = if (nzchar(by)) as.character(found[[by]]) else character()
  )
}

record_rows <- function(at, table, rows, value, label, id, ddf, adjusted = "") {
  normal <- ddf == "asymptotic"  # emmeans then names its columns by another scheme
  columns <- c(
    estimate = value, se = "SE", df = "df", lower = if (normal) "asymp.LCL" else "lower.CL",
    upper = if (normal) "asymp.UCL" else "upper.CL", t = if (normal) "z.ratio" else "t.ratio",
    p = "p.value"
  )
  types <- c(
    estimate = "estimate", se = "se", df = "df", lower = "estimate", upper = "estimate",
    t = "statistic", p = "p"
  )
  for (i in rows) {
    for (what in names(columns)) {
      statistic(
        paste(at, i, what, sep = "/"), TABLE[ROW, COLUMN], paste0(label, " ", i, ": ", what),
        types[[what]], method = paste0("emmeans, ", ddf, " df", adjusted), model = paste0("m_", id),
        bind = list(TABLE = as.name(table), ROW = i, COLUMN = columns[[what]])
      )
    }
  }
}

# The slope of a curve at the mean and at both ends of the data.
curve_slopes <- function(id, column, level, ddf, unit, label) {
  name <- paste0("m_", id)
  places <- list(low = quote(min(d$XC)), mean = quote(typical$XC), high = quote(max(d$XC)))
  for (place in names(places)) {
    slope <- paste0("curve_", make.names(column), "_", place)
    b <- list(
      M = as.name(name), T = as.name(paste0("t_", id)), X = column, XC = as.name(column),
      DDF = ddf
    )
    b$AT <- do.call(substitute, list(places[[place]], b))
    at <- paste("interpretation/curve", column, place, sep = "/")
    statistic(
      paste0(at, "/x"), AT, paste("Where the slope is taken:", label), "mean", bind = b
    )
    object(
      slope,
      combination(
        T, derivative_weights(M, with_list(typical, X, AT), X, diff(range(d$XC)) / 1000), DDF
      ),
      bind = b
    )
    record_combination(at, slope, paste(label, "at", place), level, ddf, unit, name)
  }
  list()
}

# What an effect on a log outcome is in the outcome's own units: the factor of the geometric mean.
back_transformed <- function(id, term, base, level, label) {
  name <- paste0("m_", id)
  tail_ <- 1 - (1 - level) / 2
  b <- list(C = as.name(paste0("coef_", id)), TERM = term, BASE = base, TAIL = tail_)
  at <- function(what) paste("interpretation/factor", term, what, sep = "/")
  if (!have(paste0("coef_", id))) {
    for (what in c("estimate", "lower", "upper")) {
      absent(at(what), "the coefficient's degrees of freedom could not be computed", label)
    }
    return(list())
  }
  said <- "base of the logarithm to the power of the coefficient"
  statistic(
    at("estimate"), BASE^C[TERM, "Estimate"], paste("Factor of the geometric mean:", label),
    "ratio", method = said, model = name, bind = b
  )
  statistic(
    at("lower"), BASE^(C[TERM, "Estimate"] - qt(TAIL, C[TERM, "df"]) * C[TERM, "Std. Error"]),
    paste("Lower limit of the factor:", label), "ratio", method = said, model = name, bind = b
  )
  statistic(
    at("upper"), BASE^(C[TERM, "Estimate"] + qt(TAIL, C[TERM, "df"]) * C[TERM, "Std. Error"]),
    paste("Upper limit of the factor:", label), "ratio", method = said, model = name, bind = b
  )
  list()
}
