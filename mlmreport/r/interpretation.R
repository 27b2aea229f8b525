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
    for (what in c("lower", "upper", "opposite")) absent(at(what), "the effect has no fixed part to vary around", label)
    return(list())
  }
  if (component(m, block, effect) <= 0) {
    for (what in c("lower", "upper", "opposite")) absent(at(what), "the variance of the slope is estimated as zero", label)
    return(list())
  }
  said <- sprintf("estimate -/+ z sqrt(tau), the middle %g %% of groups", 100 * level)
  statistic(at("lower"), fixef(M)[[E]] - qnorm(TAIL) * sqrt(component(M, B, E)), paste("Plausible range of the slope, lower:", label), "estimate", unit, said, name, b)
  statistic(at("upper"), fixef(M)[[E]] + qnorm(TAIL) * sqrt(component(M, B, E)), paste("Plausible range of the slope, upper:", label), "estimate", unit, said, name, b)
  statistic(at("opposite"), pnorm(-abs(fixef(M)[[E]]) / sqrt(component(M, B, E))), paste("Share of groups with a slope of the opposite sign:", label), "share", "", "normal distribution of the slopes", name, b)
  list()
}

# Simple slopes of x at values of a moderator z, and the lines to draw.
# where: list of list(key, label, kind = "category" | "number", at)
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
    if (z_type == "number") statistic(at("moderator"), VALUE, paste("Value of the moderator:", v$label), "mean", bind = b)
    object(slope, combination(T, slope_weights(M, with_list(typical, Z, VALUE), X), DDF), bind = b)
    slope_statistics(at, slope, v$label, level, ddf, unit, name, b)
    slope_line(interaction, v$key, name, b)
  }
  series(paste("interpretation/slopes", interaction, "x", sep = "/"), x_grid(d$XC), x, model = name, bind = b)
  if (z_type == "number") neyman_bounds(interaction, x, z, name, level, b)
  list()
}

# Evenly spread over the data's range.
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
    for (what in c("estimate", "se", "df", "t", "p", "lower", "upper")) absent(at(what), "the combination could not be tested", label)
    return(invisible())
  }
  statistic(at("estimate"), S[["estimate"]], paste("Simple slope:", label), "estimate", unit, model = name, bind = b)
  statistic(at("se"), S[["se"]], paste("SE of the simple slope:", label), "se", unit, model = name, bind = b)
  statistic(at("df"), S[["df"]], paste("df of the simple slope:", label), "df", method = ddf, model = name, bind = b)
  statistic(at("t"), S[["t"]], paste("t of the simple slope:", label), "statistic", method = ddf, model = name, bind = b)
  statistic(at("p"), S[["p"]], paste("p of the simple slope:", label), "p", method = ddf, model = name, bind = b)
  statistic(at("lower"), t_limit(S, "lower", LEVEL), paste("Lower limit:", label), "estimate", unit, said, name, b)
  statistic(at("upper"), t_limit(S, "upper", LEVEL), paste("Upper limit:", label), "estimate", unit, said, name, b)
}

slope_line <- function(interaction, key, name, b) {
  line <- paste0("line_", make.names(interaction), "_", make.names(key))
  b$LINE <- as.name(line)
  at <- function(what) paste("interpretation/slopes", interaction, key, what, sep = "/")
  object(line, combinations(T, fixed_rows(M, with_list(with_list(typical, Z, VALUE), X, x_grid(d$XC))), LEVEL), bind = b)
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
  product <- intersect(c(paste0(x, ":", z), paste0(z, ":", x)), names(fixef(m)))
  at <- function(what) paste("interpretation/neyman", interaction, what, sep = "/")
  if (length(product) != 1L || !x %in% names(fixef(m))) {
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
    statistic(at(c("lower", "upper")[i]), JN[[I]], paste("Johnson-Neyman bound", i), "estimate", bind = b, model = name, method = sprintf("pointwise, %g %%, t quantile with the df of the slope at typical values", 100 * level))
  }
}

# A joint F test of several coefficients: a factor, or all terms of a question.
joint_test <- function(id, key, coefficients, ddf) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), T = as.name(paste0("t_", id)), CS = coefficients, DDF = ddf, F = as.name(paste0("joint_", make.names(key))))
  object(paste0("joint_", make.names(key)), lmerTest::contestMD(T, diag(length(fixef(M)))[match(CS, names(fixef(M))), , drop = FALSE], ddf = DDF), bind = b)
  at <- function(what) paste("interpretation/joint", key, what, sep = "/")
  if (!have(paste0("joint_", make.names(key)))) {
    for (what in c("F", "df1", "df2", "p")) absent(at(what), "the joint test could not be computed", key)
    return(list())
  }
  said <- paste("F test,", ddf, "df")
  statistic(at("F"), F[["F value"]], paste("F:", key), "statistic", method = said, bind = b, model = name)
  statistic(at("df1"), F[["NumDF"]], paste("Numerator df:", key), "integer", method = said, bind = b, model = name)
  statistic(at("df2"), F[["DenDF"]], paste("Denominator df:", key), "df", method = said, bind = b, model = name)
  statistic(at("p"), F[["Pr(>F)"]], paste("p:", key), "p", method = said, bind = b, model = name)
  list()
}
