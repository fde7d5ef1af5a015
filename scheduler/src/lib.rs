//! The default scheduler of the Quarterdeck SDK and the driver around any scheduler.
