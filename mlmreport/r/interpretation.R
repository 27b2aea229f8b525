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
  m <- get(name, envir = analysis)
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
    slope_statistics(at, slope, v$label, level, ddf, unit, name, b)
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
  said <- sprintf("%g %% t interval, %s df", 100 * level, ddf)
  if (!have(slope)) {
    for (what in c("estimate", "se", "df", "t", "p", "lower", "upper")) {
      absent(at(what), why(slope, "not computed"), label)
    }
    return(invisible())
  }
  statistic(
    at("estimate"), S[["estimate"]], paste("Simple slope:", label), "estimate", unit, model = name,
    bind = b
  )
  statistic(
    at("se"), S[["se"]], paste("SE of the simple slope:", label), "se", unit, model = name, bind = b
  )
  statistic(
    at("df"), S[["df"]], paste("df of the simple slope:", label), "df", method = ddf, model = name,
    bind = b
  )
  statistic(
    at("t"), S[["t"]], paste("t of the simple slope:", label), "statistic", method = ddf,
    model = name, bind = b
  )
  statistic(
    at("p"), S[["p"]], paste("p of the simple slope:", label), "p", method = ddf, model = name,
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
  object(
    line,
    combinations(T, fixed_rows(M, with_list(with_list(typical, Z, VALUE), X, x_grid(d$XC))), LEVEL),
    bind = b
  )
  if (!have(line)) {
    return(invisible())
  }
  series(at("line"), as.vector(LINE[, "estimate"]), "Expected outcome", model = name, bind = b)
  series(at("line_lower"), as.vector(LINE[, "lower"]), "Lower limit", model = name, bind = b)
  series(at("line_upper"), as.vector(LINE[, "upper"]), "Upper limit", model = name, bind = b)
}

# Where the effect of x begins to differ from zero along z; only for a product of two numbers.
neyman_bounds <- function(interaction, x, z, name, level, b) {
  m <- get(name, envir = analysis)
  names_ <- formula_name(c(x, z))
  product <- intersect(paste(names_, rev(names_), sep = ":"), names(fixef(m)))
  at <- function(what) paste("interpretation/neyman", interaction, what, sep = "/")
  if (length(product) != 1L || !names_[1L] %in% names(fixef(m))) {
    return(invisible())
  }
  b$P <- product
  jn <- paste0("neyman_", make.names(interaction))
  b$JN <- as.name(jn)
  b$TAIL <- 1 - (1 - level) / 2
  object(jn, johnson_neyman(
    sum(slope_weights(M, with_list(typical, Z, 0), X) * fixef(M)), fixef(M)[[P]],
    variance_of(M, slope_weights(M, with_list(typical, Z, 0), X)),
    sum(slope_weights(M, with_list(typical, Z, 0), X) * vcov(M)[, P]), vcov(M)[P, P],
    qt(TAIL, combination(T, slope_weights(M, typical, X))[["df"]])
  ), bind = b)
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

# A joint F test of several coefficients: a factor, or all terms of a question.
joint_test <- function(id, key, coefficients, ddf) {
  name <- paste0("m_", id)
  joint <- paste0("joint_", make.names(key))
  b <- list(
    M = as.name(name), T = as.name(paste0("t_", id)), CS = coefficients, DDF = ddf,
    F = as.name(joint)
  )
  object(
    joint,
    lmerTest::contestMD(
      T, diag(length(fixef(M)))[match(CS, names(fixef(M))), , drop = FALSE], ddf = DDF
    ),
    bind = b
  )
  at <- function(what) paste("interpretation/joint", key, what, sep = "/")
  if (!have(joint)) {
    for (what in c("F", "df1", "df2", "p")) {
      absent(at(what), why(joint, "not computed"), key)
    }
    return(list())
  }
  said <- paste("F test,", ddf, "df")
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
  object("rows_of_groups", group_rows(typical, G, d, COLUMNS), bind = b)
  series(at("x"), range(d$XC), x, model = name, bind = b)
  series(
    at("mean"), as.vector(fixed_rows(M, with_list(typical, X, range(d$XC))) %*% fixef(M)),
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
