from flask import Blueprint

blueprint = Blueprint("ui", __name__, url_prefix="/drive")
