// Package propagation forwards trace headers: those of an incoming request leave on every outgoing request it causes.
package propagation
