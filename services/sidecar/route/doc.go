// Package route holds the data by which a proxy routes, and chooses from it: virtual hosts by the Host header, routes
// in order, weighted clusters, faults, mirrors, rewrites, access rules. There is no HTTP server in it, no clock and no
// randomness of its own: the relay asks [Table.Choose] once per request and does what the [Choice] says.
//
// The names are those of Envoy's route configuration (envoy/config/route/v3/route_components.proto), because the same
// table is also written out as a bootstrap for a real Envoy.
package route
