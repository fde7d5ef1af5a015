//! What every part needs that talks to the API: shared informers, a work queue, an event recorder, a Lease elector and the
//! way from the API server to a node.
