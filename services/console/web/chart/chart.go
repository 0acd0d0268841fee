// Package chart computes the coordinates of the console's small SVG charts. Templates draw them; numbers are plain
// text there, so nothing that a span says can become markup.
package chart

import (
	"math"
	"strconv"
	"strings"
)

// Line gives the points attribute of a polyline through values, from left to right, 0 at the bottom and top at the
// top of a w by h box. NaN values break nothing: they are drawn at 0.
func Line(values []float64, top, w, h float64) string {
	if len(values) == 1 {
		values = []float64{values[0], values[0]}
	}
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(' ')
		}
		x := w * float64(i) / float64(max(len(values)-1, 1))
		b.WriteString(num(x) + "," + num(y(v, top, h)))
	}
	return b.String()
}

// Area is Line closed along the bottom, for a filled polygon.
func Area(values []float64, top, w, h float64) string {
	if len(values) == 0 {
		return ""
	}
	return "0," + num(h) + " " + Line(values, top, w, h) + " " + num(w) + "," + num(h)
}

// Bar is one bar of a chart.
type Bar struct{ X, Y, W, H float64 }

// Bars gives one bar a value, standing on base values (nil: on the ground).
func Bars(values, base []float64, top, w, h float64) []Bar {
	out := make([]Bar, len(values))
	slot := w / float64(max(len(values), 1))
	for i, v := range values {
		low := 0.0
		if base != nil {
			low = base[i]
		}
		upper, lower := y(low+v, top, h), y(low, top, h)
		out[i] = Bar{round(slot*float64(i) + slot*0.12), round(upper), round(slot * 0.76), round(max(lower-upper, 0))}
	}
	return out
}

// Top is the largest value rounded up to 1, 2 or 5 times a power of ten, at least least.
func Top(least float64, series ...[]float64) float64 {
	top := least
	for _, values := range series {
		for _, v := range values {
			if v > top {
				top = v
			}
		}
	}
	if top <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(top)))
	for _, m := range []float64{1, 2, 5, 10} {
		if top <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return top
}

// Log places v between low and high on a logarithmic scale, 0 at low and 1 at high.
func Log(v, low, high float64) float64 {
	if v <= low || low <= 0 || high <= low {
		return 0
	}
	return min(1, math.Log(v/low)/math.Log(high/low))
}

func y(v, top, h float64) float64 {
	if math.IsNaN(v) || top <= 0 {
		v, top = 0, 1
	}
	return h - h*min(v/top, 1)
}

func round(v float64) float64 { return math.Round(v*100) / 100 }

func num(v float64) string { return strconv.FormatFloat(round(v), 'f', -1, 64) }
